package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

// drawnList is a list that is edited at random.
type drawnList struct {
	lines   []string
	newline string
	open    bool // the last line has no end
}

func (l drawnList) text() string {
	text := strings.Join(l.lines, l.newline)
	if !l.open {
		text += l.newline
	}
	return text
}

// drawLine is a line of each kind that a list may have.
func drawLine(t *rapid.T, n int) string {
	switch rapid.SampledFrom([]int{0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8}).Draw(t, "kind") {
	case 1:
		return fmt.Sprintf("2001:db8:%x::%x/127", n>>16, n&0xfffe)
	case 2:
		return fmt.Sprintf("10.%d.%d.0/24", n>>8&255, n&255)
	case 3:
		return fmt.Sprintf("10.%d.%d.3-10.%[1]d.%[2]d.77", n>>8&255, n&255)
	case 4:
		return fmt.Sprintf("10.%d.%d.9 # somebody", n>>8&255, n&255)
	case 5:
		return fmt.Sprintf("10.%d.%d.10,\"a name\",DE", n>>8&255, n&255)
	case 6:
		return rapid.SampledFrom([]string{"", "# nobody", "; nobody", "  "}).Draw(t, "no entry")
	case 7:
		return fmt.Sprintf("  10.%d.%d.128/25\t", n>>8&255, n&255)
	case 8:
		return rapid.SampledFrom([]string{"0.0.0.0/1", "ffff::/16", "10.3.0.0/16"}).Draw(t, "wide")
	}
	return fmt.Sprintf("10.%d.%d.%d", n>>8&255, n&255, n%7)
}

func drawList(t *rapid.T) drawnList {
	l := drawnList{newline: rapid.SampledFrom([]string{"\n", "\n", "\r\n"}).Draw(t, "newline")}
	family, step := rapid.IntRange(0, 2).Draw(t, "family"), rapid.IntRange(1, 300).Draw(t, "step")
	for i := range rapid.IntRange(0, 20_000).Draw(t, "lines") {
		n := i * step
		if family == 0 || family == 2 && i < 5000 {
			l.lines = append(l.lines, fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255))
		} else {
			l.lines = append(l.lines, fmt.Sprintf("2001:db8::%x:%x", n>>16, n&0xffff))
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "order") == 0 {
		for i := range l.lines {
			j := i * 7919 % len(l.lines)
			l.lines[i], l.lines[j] = l.lines[j], l.lines[i]
		}
	}
	return l
}

// edit changes a list in one place.
func (l *drawnList) edit(t *rapid.T) {
	at := rapid.IntRange(0, len(l.lines)).Draw(t, "at")
	n := rapid.SampledFrom([]int{1, 1, 1, 2, 10, 3000}).Draw(t, "lines")
	end := min(len(l.lines), at+n)
	l.lines = slices.Clone(l.lines)
	switch rapid.IntRange(0, 7).Draw(t, "edit") {
	case 0:
		l.lines = slices.Delete(l.lines, at, end)
	case 1, 2:
		for range min(n, 10) {
			line := drawLine(t, rapid.IntRange(0, 1<<16).Draw(t, "number"))
			l.lines = slices.Insert(l.lines, at, line)
		}
	case 3:
		if at < len(l.lines) {
			l.lines[at] = drawLine(t, rapid.IntRange(0, 1<<16).Draw(t, "number"))
		}
	case 4: // the same lines twice
		l.lines = slices.Insert(l.lines, at, slices.Clone(l.lines[at:end])...)
	case 5: // the same lines elsewhere
		moved := slices.Clone(l.lines[at:end])
		l.lines = append(slices.Delete(l.lines, at, end), moved...)
	case 6:
		l.open = !l.open
	case 7:
		slices.Reverse(l.lines[at:end])
	}
}

// TestReadingInChunks checks that a list read in chunks, given what was known before it was
// edited, holds what it holds when it is read as a whole.
func TestReadingInChunks(t *testing.T) {
	reader := listReader{name: "list", limit: 1 << 20}
	rapid.Check(t, func(t *rapid.T) {
		l := drawList(t)
		var chunks []chunk
		var set address.Set
		for range 6 {
			text := l.text()
			want, err := reader.read(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			got, now, err := reader.readChunks(strings.NewReader(text), 1<<30, chunks, set)
			if err != nil {
				t.Fatalf("%v: %.200q", err, text)
			}
			if !got.prefixes.Equal(want.prefixes) {
				more, less := address.Diff(got.prefixes, want.prefixes)
				t.Fatalf("%d lines: read in chunks, it has also %v, and lacks %v",
					len(l.lines), more.FirstStrings(5), less.FirstStrings(5))
			}
			if got.entries != want.entries || got.blank != want.blank {
				t.Fatalf("%d entries, not %d; blank: %v, not %v",
					got.entries, want.entries, got.blank, want.blank)
			}
			chunks, set = now, got.prefixes
			l.edit(t)
		}
	})
}

// TestFewChunksAreParsed checks that a change of few lines costs parsing few.
func TestFewChunksAreParsed(t *testing.T) {
	lines := make([]string, 200_000)
	for i := range lines {
		lines[i] = fmt.Sprintf("10.%d.%d.%d", i>>13&255, i>>5&255, i<<3&255)
	}
	edits := map[string]func([]string) []string{
		"none":       func(l []string) []string { return l },
		"one line":   func(l []string) []string { l[100_000] = "203.0.113.9"; return l },
		"one less":   func(l []string) []string { return slices.Delete(l, 70_000, 70_001) },
		"one more":   func(l []string) []string { return slices.Insert(l, 150_000, "10.0.0.3") },
		"at the end": func(l []string) []string { return append(l, "192.0.2.1") },
		"three": func(l []string) []string {
			l[10_000] = "# nobody"
			l = slices.Delete(l, 100_000, 100_020)
			return slices.Insert(l, 180_000, "2001:db8::/32")
		},
	}
	reader := listReader{name: "list", limit: 1 << 20}
	first := strings.Join(lines, "\n") + "\n"
	known, chunks, err := reader.readChunks(strings.NewReader(first), 1<<30, nil, address.Set{})
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			text := strings.Join(edit(slices.Clone(lines)), "\n") + "\n"
			c := reader.inChunks(strings.NewReader(text), chunks)
			if err := c.scan(1 << 30); err != nil {
				t.Fatal(err)
			}
			if _, err := c.gone(known.prefixes, c.added.Set()); err != nil {
				t.Fatal(err)
			}
			parsed := 0
			for _, p := range c.places {
				if p.parsed {
					parsed++
				}
			}
			if parsed > len(chunks)/5 {
				t.Errorf("%d of %d chunks were parsed", parsed, len(chunks))
			}
		})
	}
}

// TestListsReadAsAWhole checks that lists whose lines depend on each other, and those with
// mistakes, are not read in chunks.
func TestListsReadAsAWhole(t *testing.T) {
	many := strings.Repeat("10.0.0.1\n", 10_000)
	for name, text := range map[string]string{
		"gzip":          "\x1f\x8b\x08 and more",
		"a heading":     "network,name\n" + many,
		"later heading": "# nobody\nnetwork,name\n10.0.0.1,me\n",
		"a mark":        "\xef\xbb\xbf10.0.0.1\n",
		"JSON":          `{"a": ["10.0.0.1"]}`,
		"a mistake":     many + "10.0.0.300\n",
		"two in a line": many + "10.0.0.1,10.0.0.2\n",
		"a long line":   many + "10.0.0.1 #" + strings.Repeat("x", readBufferSize) + "\n" + many,
		"a late zero":   many + "\x00\n",
	} {
		reader := listReader{name: "list", limit: 1 << 20}
		_, _, err := reader.readChunks(strings.NewReader(text), 1<<30, nil, address.Set{})
		if !errors.Is(err, errWholeList) {
			t.Errorf("%s: %v", name, err)
		}
	}
	reader := listReader{name: "list", limit: 100}
	_, chunks, err := reader.readChunks(
		strings.NewReader("10.0.0.1\n"), 1<<30, nil, address.Set{})
	if err != nil {
		t.Fatal(err)
	}
	for name, most := range map[string]int64{"too many": 1 << 30, "too large": 100} {
		_, _, err := reader.readChunks(strings.NewReader(many), most, chunks, address.Set{})
		if !errors.Is(err, errWholeList) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFileChangesUnderItsReader checks that a chunk which says something else when it is looked at
// again is not trusted.
func TestFileChangesUnderItsReader(t *testing.T) {
	lines := make([]string, 20_000)
	for i := range lines {
		lines[i] = fmt.Sprintf("10.%d.%d.%d", i>>12&255, i>>4&255, i<<4&255)
	}
	lines[19_000] = lines[10_000] // it stays, though one of its chunks goes
	o := listReader{name: "list", limit: 1 << 20}
	text := strings.Join(lines, "\n")
	known, chunks, err := o.readChunks(strings.NewReader(text), 1<<30, nil, address.Set{})
	if err != nil {
		t.Fatal(err)
	}
	lines[10_000] = "10.9.9.9"
	text = strings.Join(lines, "\n")
	for _, changed := range []bool{false, true} {
		c := o.inChunks(strings.NewReader(text), chunks)
		if err := c.scan(1 << 30); err != nil {
			t.Fatal(err)
		}
		if changed {
			c.file = strings.NewReader(strings.ReplaceAll(text, "10.2.113.0\n", "10.2.113.9\n"))
		}
		gone, err := c.gone(known.prefixes, c.added.Set())
		if changed && !errors.Is(err, errWholeList) || !changed && (err != nil || !gone.IsZero()) {
			t.Errorf("changed %v: %v is gone (%v)", changed, gone, err)
		}
	}
}
