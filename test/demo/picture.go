package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Sizes of the picture, in pixels. A column is as wide as a letter of the font is at its size.
const (
	lineHeight  = 18
	columnWidth = 7.83
	fontSize    = 13
	margin      = 16
	minColumns  = 80
)

// drawTerminal is an SVG picture of text as on a terminal. Lines that begin with $ are what a
// person typed.
func drawTerminal(text string) []byte {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	columns := minColumns
	for _, line := range lines {
		columns = max(columns, utf8.RuneCountInString(line))
	}
	width := 2*margin + int(float64(columns)*columnWidth)
	height := 2*margin + len(lines)*lineHeight
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" role="img">
<style>text{font:%dpx ui-monospace,Menlo,Consolas,monospace;fill:#e6edf3;white-space:pre}
.t{fill:#7ee787;font-weight:600}</style>
<rect width="100%%" height="100%%" rx="8" fill="#0d1117"/>
`, width, height, fontSize)
	for i, line := range lines {
		class := ""
		if strings.HasPrefix(line, "$ ") {
			class = ` class="t"`
		}
		fmt.Fprintf(&b, `<text%s x="%d" y="%d" xml:space="preserve">`, class, margin,
			margin+i*lineHeight+fontSize)
		_ = xml.EscapeText(&b, []byte(line)) // a bytes.Buffer doesn't fail
		b.WriteString("</text>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
