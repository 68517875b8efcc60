package main

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// maxVerbatim is how wide a line of a chapter may be that is shown as it is: a page of 80 columns
// indents it.
const maxVerbatim = 80 - 11 + 4

// Each chapter is in a page of the manual, and its lines fit on a terminal of 80 columns.
func TestChapters(t *testing.T) {
	var text string
	for _, name := range pages {
		app := newApp(&output{to: io.Discard}, io.Discard, os.Getenv)
		page, err := manualPage(name, app, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		text += string(page)
	}
	all, err := chapters.ReadDir("chapters")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		chapter := chapter(strings.TrimSuffix(file.Name(), ".md"))
		title, _, _ := strings.Cut(strings.TrimPrefix(chapter, "# "), "\n")
		title = strings.ReplaceAll(strings.ToUpper(title), "-", `\-`)
		if !strings.Contains(text, `.SH "`+title+`"`) {
			t.Errorf("%s is in no page of the manual", file.Name())
		}
		for line := range strings.Lines(chapter) {
			wide := utf8.RuneCountInString(strings.TrimRight(line, "\n"))
			if strings.HasPrefix(line, "    ") && wide > maxVerbatim {
				t.Errorf("%s: %d columns, %d fit: %s", file.Name(), wide, maxVerbatim, line)
			}
		}
	}
}
