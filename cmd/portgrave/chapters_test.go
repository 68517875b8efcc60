package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
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

// The README stays a page that a newcomer reads, and links to what is there.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) > 150 {
		t.Errorf("the README has %d lines; 150 are enough", len(lines))
	}
	for i, line := range lines {
		if utf8.RuneCountInString(line) > 100 {
			t.Errorf("README.md:%d: longer than 100 columns", i+1)
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([^):]+)\)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join("../..", m[1])); err != nil {
			t.Error(err)
		}
	}
	verbs := map[string]bool{}
	everyVerb(func(c *cli.Command) { verbs[c.Name] = true })
	_, table, _ := strings.Cut(string(text), "| verb | does |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, m := range regexp.MustCompile("`([a-z]+)[^`]*`").FindAllStringSubmatch(table, -1) {
		if !verbs[m[1]] {
			t.Errorf("the README has the verb %s, and the program hasn't", m[1])
		}
	}
}
