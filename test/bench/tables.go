package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Tables are all that was measured.
func (r Report) Tables() []Table {
	var out []Table
	type key struct {
		family string
		size   int
	}
	var seen []key
	for _, c := range r.Control {
		if k := (key{c.Family, c.Size}); !slices.Contains(seen, k) {
			seen = append(seen, k)
		}
	}
	for _, k := range seen {
		out = append(out, r.controlTable(k.family, k.size, Operations, true))
	}
	if len(r.Packets) > 0 {
		out = append(out, r.packetTable(true))
	}
	if len(r.Jobs) > 0 {
		out = append(out, r.jobTable())
	}
	return out
}

// controlTable has a row for each contestant, a column for each operation. Full cells have extremes
// and the number of rounds.
func (r Report) controlTable(family string, size int, operations []Operation, full bool) Table {
	t := Table{Title: fmt.Sprintf("%s %s CIDRs", formatCount(size), family), Head: []string{"by"}}
	for _, o := range operations {
		t.Head = append(t.Head, string(o))
	}
	t.Head = append(t.Head, "peak memory")
	for _, by := range r.contestants(family, size) {
		row, peak := []string{by}, uint64(0)
		for _, o := range operations {
			cell := "–"
			if c, ok := r.find(family, size, by, o); ok {
				cell = c.cell(full)
			}
			row = append(row, cell)
		}
		for _, c := range r.Control {
			if c.Family == family && c.Size == size && c.By == by {
				peak = max(peak, c.Peak)
			}
		}
		t.Rows = append(t.Rows, append(row, formatPeak(peak)))
	}
	return t
}

func formatPeak(peak uint64) string {
	if peak == 0 {
		return "–"
	}
	return formatMiB(float64(peak))
}

// contestants are those that were measured on a list, in the order of the run.
func (r Report) contestants(family string, size int) []string {
	var out []string
	for _, c := range r.Control {
		if c.Family == family && c.Size == size && !slices.Contains(out, c.By) {
			out = append(out, c.By)
		}
	}
	return out
}

func (r Report) find(family string, size int, by string, o Operation) (ControlRow, bool) {
	for _, c := range r.Control {
		if c.Family == family && c.Size == size && c.By == by && c.Operation == o {
			return c, true
		}
	}
	return ControlRow{}, false
}

// cell is "1.43 s ×1.1", in full "1.43 s (1.40 s–1.50 s, n 3) ×1.1".
func (c ControlRow) cell(full bool) string {
	if len(c.Seconds) == 0 {
		return c.Note
	}
	text := formatSeconds(c.Seconds.Median())
	if full {
		text += formatSpread(c.Seconds)
	}
	// Beyond a hundred it only tells that the kernel needs next to nothing.
	if ratio := c.OverKernel.Median(); ratio > 0 && ratio < 100 {
		text += " ×" + formatRatio(ratio)
	}
	return text
}

func formatSpread(s Series) string {
	if len(s) == 1 {
		return " (n 1)"
	}
	return fmt.Sprintf(" (%s–%s, n %d)", formatSeconds(s.Min()), formatSeconds(s.Max()), len(s))
}

func (r Report) packetTable(full bool) Table {
	t := Table{
		Title: "Packets to port 9090, as a part of the rate without rules",
		Head:  []string{"by", "rules", "TCP connects", "small UDP packets"},
	}
	for _, p := range r.Packets {
		if p.Note != "" {
			t.Rows = append(t.Rows, []string{p.By, p.What, p.Note, p.Note})
			continue
		}
		t.Rows = append(
			t.Rows,
			[]string{p.By, p.What, formatShare(p.TCP, full), formatShare(p.UDP, full)},
		)
	}
	return t
}

// formatShare is a ratio to two places, in full with its extremes.
func formatShare(s Series, full bool) string {
	switch {
	case len(s) == 0:
		return "–"
	case full:
		return fmt.Sprintf("%.2f (%.2f–%.2f, n %d)", s.Median(), s.Min(), s.Max(), len(s))
	}
	return fmt.Sprintf("%.2f", s.Median())
}

func (r Report) jobTable() Table {
	t := Table{
		Title: "Other work",
		Head:  []string{"what", "median", "min–max", "p99", "n", "peak memory", "× list"},
	}
	for _, j := range r.Jobs {
		if len(j.Seconds) == 0 {
			t.Rows = append(t.Rows, []string{j.What, j.Note, "–", "–", "0", "–", "–"})
			continue
		}
		over := "–"
		if len(j.OverDump) > 0 {
			over = formatRatio(j.OverDump.Median())
		}
		p99 := "–"
		if len(j.Seconds) >= 100 {
			p99 = formatSeconds(j.Seconds.Quantile(0.99))
		}
		t.Rows = append(
			t.Rows,
			[]string{
				j.What,
				formatSeconds(j.Seconds.Median()),
				formatSeconds(j.Seconds.Min()) + "–" + formatSeconds(j.Seconds.Max()),
				p99,
				fmt.Sprint(len(j.Seconds)),
				formatPeak(j.Peak),
				over,
			},
		)
	}
	return t
}

// Where says on what machine the run was, and when.
func (r Report) Where() string {
	text := fmt.Sprintf(
		"%s, %s, %d cores, Linux %s",
		r.Date.Format(time.DateOnly),
		r.Machine.Processor,
		r.Machine.Cores,
		r.Machine.Kernel,
	)
	for _, p := range []string{"nft", "ipset", "iptables-nft"} {
		if v := r.Machine.Versions[p]; v != "" {
			text += ", " + strings.TrimSuffix(p, "-nft") + " " + v
		}
	}
	return text
}

// Notes explain the tables.
func (r Report) Notes() []string {
	notes := []string{
		"Times are medians, from the start of a program to its end. × is over the kernel's own time for the same list in one interval set, with messages that were encoded before and sent by one call, in the same round.",
		fmt.Sprintf(
			"> marks what did not end in %s, the time that one measurement may take; it was not tried again, nor with longer lists.",
			formatSeconds(r.Limit),
		),
		"Other work: × list is over the time of nft or ipset for printing the same sets.",
		"Packets: sender and receiver share one core, so that a rate counts the work of both; each figure is the median of pairs, with rules and without in turn.",
	}
	for _, p := range r.Packets {
		if len(p.BareUDP) > 0 {
			notes = append(
				notes,
				fmt.Sprintf(
					"Without rules: %s connects and %s packets a second.",
					formatCount(int(p.BareTCP.Median())),
					formatCount(int(p.BareUDP.Median())),
				),
			)
			break
		}
	}
	for _, m := range r.Missing {
		notes = append(notes, "Left out: "+m+".")
	}
	if r.Quick {
		notes = append(notes, "This was a quick run: short lists and few rounds.")
	}
	return notes
}

// Text is the whole report for a terminal.
func (r Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.Where())
	for _, t := range r.Tables() {
		b.WriteString(t.Text() + "\n")
	}
	for _, n := range r.Notes() {
		b.WriteString(n + "\n")
	}
	return b.String()
}

// Markdown is the whole report as a page; plot is the file of its plot.
func (r Report) Markdown(plot string) string {
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"# Benchmarks\n\n%s. Written by `make bench`.\n\n![times and packet rates](%s)\n\n",
		r.Where(),
		plot,
	)
	for _, n := range r.Notes() {
		b.WriteString("- " + n + "\n")
	}
	for _, t := range r.Tables() {
		b.WriteString("\n" + t.Markdown())
	}
	return b.String()
}
