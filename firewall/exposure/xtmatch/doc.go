// Package xtmatch translates the options of x_tables' matches and targets into the exposure model,
// for readers of the kernel's binary structs (package xtinfo) and of iptables-save text (package
// xtables).
//
// Each function translates an option, or a group of options that the kernel tests together.
// Arguments are the option's parsed values: numbers, ranges, a "!". The result is statements. A
// function names the kernel source that it follows where the manual page is silent.
//
// It never parses anything, and doesn't know chains or tables.
package xtmatch
