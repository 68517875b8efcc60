package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// auditPrinter prints a report as evidence: what was found, about which host and when, and then
// every port.
type auditPrinter struct {
	*screen
	r audit.Report
}

func printAudit(s *screen, r audit.Report) {
	p := auditPrinter{s, r}
	lines, open, accepted := p.findings()
	p.wrap(p.summary(open, accepted))
	p.wrap(p.header())
	if len(lines) > 0 {
		s.printf("\n")
		for _, line := range lines {
			p.wrap(line)
		}
	}
	s.printf("\n")
	p.exposures()
	for _, l := range r.Leases {
		p.wrap(leaseWords(l))
	}
	for _, x := range r.Assumed {
		p.wrap("Assumed: " + x + ".")
	}
	if len(r.Unread) > 0 {
		p.wrap("Incomplete: " + strings.Join(r.Unread, "; ") + ".")
	}
}

// wrap prints a sentence in lines that fit.
func (p auditPrinter) wrap(text string) {
	p.printf("%s\n", wrapped(text, max(p.columns, minColumns)))
}

var severityColours = map[audit.Severity]string{
	audit.Critical: red, audit.Warning: yellow, audit.Note: "",
}

// summary is the answer in a line: how many findings, and what everybody reaches.
func (p auditPrinter) summary(open map[audit.Severity]int, accepted int) string {
	var counts []string
	for _, s := range audit.Severities() {
		if n := open[s]; n == 1 || n > 1 && s == audit.Critical {
			counts = append(counts, p.paint(severityColours[s], fmt.Sprintf("%d %s", n, s)))
		} else if n > 1 {
			counts = append(counts, p.paint(severityColours[s], fmt.Sprintf("%d %ss", n, s)))
		}
	}
	words := strings.Join(counts, ", ")
	unjudged := ""
	switch {
	case p.r.Unjudged && p.r.UnjudgedWhy != "":
		unjudged = "The ports aren't judged: " + printable(p.r.UnjudgedWhy)
	case p.r.Unjudged:
		unjudged = "No policy is given, so the ports aren't judged: name one with --config"
	}
	switch {
	case len(counts) == 0 && unjudged != "":
		words, unjudged = unjudged, ""
	case len(counts) == 0:
		words = p.paint(green, "Nothing to report") + ": what is reachable is what the policy allows"
	}
	if accepted > 0 {
		words += fmt.Sprintf(" (and %s)", plural(accepted, "accepted finding"))
	}
	if unjudged != "" {
		words += ". " + unjudged
	}
	return words + ". " + p.everyone()
}

// maxEveryone is how many ports the summary names.
const maxEveryone = 8

// everyone says which ports everybody reaches, or nearly so, and which ones that isn't sure of.
func (p auditPrinter) everyone() string {
	surely := p.portsFor(func(x audit.Exposure) bool {
		return audit.IsEveryone(x.Reachable.Certain)
	}, nil)
	maybe := p.portsFor(func(x audit.Exposure) bool {
		return audit.IsEveryone(x.Reachable.Possible)
	}, surely)
	what := "port"
	if p.r.Host == "" { // rows of rules from files are ranges of ports
		what = "row"
	}
	count := func(ports []string, one, several string) string {
		if len(ports) == 1 {
			return fmt.Sprintf("1 %s %s", what, one)
		}
		return fmt.Sprintf("%d %ss %s", len(ports), what, several)
	}
	const everywhere = " reachable from everywhere, or most of it: "
	var sentences []string
	if len(surely) > 0 {
		sentences = append(sentences, count(surely, "is", "are")+everywhere+
			someWords(surely, maxEveryone)+".")
	}
	if len(maybe) > 0 {
		sentences = append(sentences, count(maybe, "may be", "may be")+everywhere+
			someWords(maybe, maxEveryone)+".")
	}
	if len(sentences) == 0 {
		return "No port is reachable from everywhere."
	}
	return strings.Join(sentences, " ")
}

// portsFor are the ports of rows that are so, each once, but for some.
func (p auditPrinter) portsFor(so func(audit.Exposure) bool, but []string) (ports []string) {
	seen := map[string]bool{}
	for _, port := range but {
		seen[port] = true
	}
	for _, x := range p.r.Exposures {
		if port := exposedPort(x); !seen[port] && so(x) {
			seen[port] = true
			ports = append(ports, port)
		}
	}
	return ports
}

// header says what the report is about.
func (p auditPrinter) header() string {
	e := p.r.Evidence
	words := "Audit"
	if e.Host == "" && e.Kernel == "" {
		words += " of rules from files"
	}
	if e.Host != "" {
		words += " of " + printable(e.Host)
	}
	if !e.At.IsZero() {
		words += " at " + e.At.Local().Format("2006-01-02 15:04:05 MST")
	}
	if e.Version != "" {
		words += " by portgrave " + e.Version
	}
	if e.Kernel != "" {
		words += " on " + e.Kernel
	}
	switch {
	case e.Generation > 0:
		words += fmt.Sprintf("; generation %d, applied %s by %s", e.Generation,
			untilWords(e.AppliedAt), dash(printable(e.AppliedBy)))
	case e.GenerationUnknown:
		words += "; which generation is in force is unknown"
	case e.Host != "" || e.Kernel != "":
		words += "; no generation is in force"
	}
	return words + "."
}

// findings are a line each, the gravest first, and what is accepted last. Interfaces that share a
// finding share its line, and it is counted once.
func (p auditPrinter) findings() (lines []string, open map[audit.Severity]int, known int) {
	by := map[string][]string{}
	open = map[audit.Severity]int{}
	var accepted []string
	for _, f := range p.r.Findings {
		name := p.paint(severityColours[f.Severity], string(f.Severity)+" "+string(f.Kind))
		if f.Accepted != nil {
			name = "accepted " + string(f.Kind)
		}
		line := name + ": " + printable(f.Detail)
		if f.From != "" && f.Kind != audit.Expired && f.Kind != audit.Expiring {
			line += " (from " + f.From + ")"
		}
		if f.Accepted != nil {
			line += "; " + acceptedWords(*f.Accepted)
		}
		if _, told := by[line]; !told && f.Accepted != nil {
			accepted = append(accepted, line)
		} else if !told {
			lines = append(lines, line)
			open[f.Severity]++
		}
		on := by[line] // several rows may share a finding
		if f.Interface != "" && !slices.Contains(on, f.Interface) {
			on = append(on, f.Interface)
		}
		by[line] = on
	}
	lines = append(lines, accepted...)
	for i, line := range lines {
		if interfaces := by[line]; len(interfaces) > 0 {
			lines[i] += ", by " + someWords(interfaces, maxEveryone)
		}
	}
	return lines, open, len(accepted)
}

func acceptedWords(a audit.Accepted) string {
	if a.Until.IsZero() {
		return "accepted: " + printable(a.Reason)
	}
	return "accepted until " + untilWords(a.Until) + ": " + printable(a.Reason)
}

func exposedPort(x audit.Exposure) string {
	port := fmt.Sprintf("%s/%d", x.Protocol, x.Port)
	if x.PortLast > 0 {
		port += fmt.Sprintf("-%d", x.PortLast)
	}
	return port
}

// exposures prints a row for each port and who is behind it; interfaces by which the same sources
// get there share one. Columns that say nothing are left out.
func (p auditPrinter) exposures() {
	const by, allowed = 2, 4
	columns := []column{{"PORT", 0}, {"LISTENER", 8}, {"BY", 5}, {"REACHABLE FROM", 14},
		{"ALLOWED", 9}, {"FINDING", 17}} // with sctp/10000-65535 these are 79
	type row struct {
		cells      []cell
		interfaces []string
	}
	var rows []*row
	seen := map[string]*row{}
	for _, x := range p.r.Exposures {
		cells := []cell{{text: exposedPort(x)}, {text: listenerWords(x)}, {}, {text: reachWords(x)},
			{text: "-"}, p.findingCell(x)}
		if x.Declared {
			cells[allowed].text = x.AllowedFrom
		}
		key := fmt.Sprint(cells)
		if seen[key] == nil {
			seen[key] = &row{cells: cells}
			rows = append(rows, seen[key])
		}
		if x.Interface != "" {
			seen[key].interfaces = append(seen[key].interfaces, x.Interface)
		}
	}
	if len(rows) == 0 {
		p.printf("Nothing listens that a packet from another machine could reach.\n")
		return
	}
	on := map[string]bool{} // ways in that differ
	for _, r := range rows {
		r.cells[by].text = dash(someWords(r.interfaces, maxEveryone))
		if len(r.interfaces) > 0 {
			on[r.cells[by].text] = true
		}
	}
	var shown []column
	table := make([][]cell, len(rows))
	for i, c := range columns {
		if i == by && len(on) < 2 || i == allowed && p.r.Unjudged {
			continue
		}
		shown = append(shown, c)
		for n, r := range rows {
			table[n] = append(table[n], r.cells[i])
		}
	}
	p.fitted(shown, table)
	if len(on) == 1 {
		p.wrap("All of it by " + slices.Sorted(maps.Keys(on))[0] + ".")
	}
}

// listenerWords are who listens, at which address, and where its packets go instead.
func listenerWords(x audit.Exposure) string {
	return dash(strings.TrimSpace(processWords(x) + " " + addressWords(x)))
}

// processWords are the program and its container; "" if neither is known.
func processWords(x audit.Exposure) string {
	who := x.Process
	if x.Container != "" {
		who = strings.TrimSpace(who + " in " + x.Container)
	}
	return printable(who)
}

func addressWords(x audit.Exposure) string {
	at := x.At()
	switch {
	case x.Target != "" && x.Address == "*":
		return "→ " + x.Target
	case x.Target != "":
		return at + " → " + x.Target
	}
	return at
}

// reachWords are the sources that certainly get in, and those that possibly do.
func reachWords(x audit.Exposure) string {
	if x.Surely == "" || x.Finding == audit.RateLimited {
		return x.From
	}
	return x.Surely + "; possibly " + x.From
}

// findingCell is what a row's finding is: "ok, at most 10/minute".
func (p auditPrinter) findingCell(x audit.Exposure) cell {
	switch {
	case x.Finding == audit.OK && p.r.Unjudged:
		return cell{text: "-"}
	case x.Finding == audit.OK && x.Rate != "":
		return cell{text: "ok, at most " + x.Rate}
	case x.Finding == audit.OK:
		return cell{text: "ok"}
	case x.Accepted != nil:
		return cell{text: string(x.Finding) + ", accepted"}
	}
	return cell{text: string(x.Finding), colour: severityColours[x.Severity]}
}
