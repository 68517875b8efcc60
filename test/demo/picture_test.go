package main

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// The picture is XML whatever a program prints, and as wide as its longest line.
func TestPicture(t *testing.T) {
	text := "$ portgrave plan\n+ a <b> & c\n\n" + strings.Repeat("x", 200) + "\n\n"
	picture := string(drawTerminal(text))
	d := xml.NewDecoder(strings.NewReader(picture))
	lines := 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v:\n%s", err, picture)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "text" {
			lines++
		}
	}
	if lines != 4 || !strings.Contains(picture, `width="1598"`) {
		t.Errorf("%d lines in\n%s", lines, picture)
	}
}
