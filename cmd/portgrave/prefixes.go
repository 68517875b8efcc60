package main

// maxPrefixes is how many prefixes people are shown in a line.
const maxPrefixes = 4
