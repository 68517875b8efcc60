package main

import "embed"

// chapters explain what no list of verbs and flags tells: how portgrave works, and what its answers
// mean. They are Markdown, so that they can be read in the repository as well; man makes sections
// of the manual pages of them.
//
//go:embed chapters/*.md
var chapters embed.FS

// chapter is the Markdown of a chapter, which must be there.
func chapter(name string) string {
	text, err := chapters.ReadFile("chapters/" + name + ".md")
	if err != nil {
		panic(err)
	}
	return string(text)
}
