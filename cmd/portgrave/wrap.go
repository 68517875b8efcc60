package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// minColumns is the width of a line of text, unless the terminal is wider.
const minColumns = 80

// columnsOf is the width of lines on a terminal. It is 0 for everything else: what a program reads
// has one line for each sentence.
func columnsOf(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(w) {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return minColumns
	}
	return max(int(size.Col), minColumns)
}

// sentence prints text for people, in lines that fit on the terminal.
func (s *screen) sentence(text string) { s.printf("%s\n", wrapped(text, s.columns)) }

var colourCode = regexp.MustCompile("\x1b\\[[0-9;]*m")

// wrapped breaks text between words into lines of some columns, 0 for one line. All lines but the
// first are indented. A longer word has a line of its own.
func wrapped(text string, columns int) string {
	const indent = "  "
	if columns == 0 {
		return text
	}
	var b strings.Builder
	at := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(colourCode.ReplaceAllString(word, ""))
		switch {
		case at == 0:
		case at+1+n > columns:
			b.WriteString("\n" + indent)
			at = len(indent)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	return b.String()
}
