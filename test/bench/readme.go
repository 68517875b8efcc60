package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The lines of the README between which the section stands.
const (
	sectionBegin = "<!-- make bench writes what follows -->"
	sectionEnd   = "<!-- make bench wrote that -->"
)

// Readme returns the README with its section replaced by the most telling rows of this run. folder
// is where the whole report is.
func (r Report) Readme(readme, folder string) (string, error) {
	before, rest, begins := strings.Cut(readme, sectionBegin+"\n")
	_, after, ends := strings.Cut(rest, sectionEnd+"\n")
	if !begins || !ends {
		return "", errors.New(
			"the README has no lines \"" + sectionBegin + "\" and \"" + sectionEnd + "\"",
		)
	}
	return before + sectionBegin + "\n" + r.section(folder) + sectionEnd + "\n" + after, nil
}

func (r Report) section(folder string) string {
	var b strings.Builder
	size := 0
	for _, c := range r.Control {
		size = max(size, c.Size)
	}
	t := r.controlTable(
		"IPv4",
		size,
		[]Operation{FirstLoad, NothingToDo, OneMore, PercentReplaced, AllReplaced, ReadAll},
		false,
	)
	t.Head[0], t.Title = t.Title, ""
	fmt.Fprintf(
		&b,
		"%s; × is over the kernel's own time for the same list in one set:\n\n%s\n",
		r.Where(),
		t.Markdown(),
	)
	p := r.packetTable(false)
	p.Title = ""
	p.Head[0] = "packets to port 9090, rate over none"
	kept := p.Rows[:0]
	for i, row := range p.Rows {
		if inReadme(r.Packets[i], size) {
			kept = append(kept, row)
		}
	}
	if p.Rows = kept; len(p.Rows) > 0 {
		b.WriteString(p.Markdown() + "\n")
	}
	if r.Quick {
		b.WriteString("This was a quick run, of few rounds: the ratios are rough.\n\n")
	}
	fmt.Fprintf(
		&b,
		"![times and packet rates](%s/plot.svg)\n\nAll of it, with IPv6, shorter lists and extremes: [%s/table.md](%s/table.md).\n",
		folder,
		folder,
		folder,
	)
	return b.String()
}

// inReadme are the packet figures that the README shows.
func inReadme(p PacketRow, size int) bool {
	return p.Note == "" && (p.By == byConntrack || slices.ContainsFunc([]string{
		"1 service, " + shortCount(size), "1 000 services, " + shortCount(size), "unlisted port", "a set of " + shortCount(size), "1 000 rules",
	}, func(what string) bool { return strings.HasPrefix(p.What, what) }))
}

// shortCount is the size of a list in few letters: 1 M, 100 k.
func shortCount(n int) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%d M", n/1e6)
	case n >= 1000:
		return fmt.Sprintf("%d k", n/1000)
	}
	return fmt.Sprint(n)
}
