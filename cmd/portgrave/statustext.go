package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/lease"
	"github.com/portgrave/portgrave/firewall/host/usage"
)

// Bounds on what the table of status names; status SERVICE names what the answer has, which is
// bounded, too (host.Named).
const (
	maxFrom       = 6
	maxStatusPort = 6
)

// printStatus prints one screen: what is in force, problems, and who may reach what.
func printStatus(s *screen, r statusResult, now time.Time) {
	p := statusPrinter{s, r, now}
	p.wrap(generationWords(s, r, now))
	for _, x := range problems(s, r) {
		p.wrap(x)
	}
	if r.Generation != nil {
		s.printf("\n")
		p.services()
		unlisted := "Ports that no service lists are left alone."
		if r.Unlisted == firewall.UnlistedDeny {
			unlisted = "Ports that no service lists are refused."
		}
		p.wrap(unlisted + p.since())
	}
	s.printf("\n")
	p.about()
}

type statusPrinter struct {
	*screen
	r   statusResult
	now time.Time
}

// wrap prints a sentence in lines that fit.
func (p statusPrinter) wrap(text string) {
	p.printf("%s\n", wrapped(text, max(p.columns, minColumns)))
}

// services prints the table.
func (p statusPrinter) services() {
	columns := []column{{"SERVICE", 10}, {"PORTS", 12}, {"FROM", 15}, {"REFUSED", 0}, {"ALLOWED", 0}}
	used := false
	var rows [][]cell
	var lastUse []string
	for _, x := range p.r.Services {
		refused, allowed := 0., 0.
		last := ""
		if u := x.Usage; u != nil {
			refused, allowed = u.RefusedPerMinute, u.AllowedPerMinute
			last = p.age(u.LastAllowed)
		}
		used = used || last != ""
		lastUse = append(lastUse, last)
		rows = append(rows, []cell{
			{text: x.Name}, {text: p.ports(x)}, {text: p.from(x)},
			{text: counted(x.Refused, refused)}, {text: counted(x.Allowed, allowed)},
		})
	}
	for _, other := range []struct {
		name, ports string
		always      bool
		counted     *host.Traffic
	}{
		{"(unlisted)", "the others", p.r.Unlisted == firewall.UnlistedDeny, p.r.UnlistedPorts},
		{"(direct)", "to containers", false, p.r.DirectWays},
		{"(spoofed)", "from our own address", false, p.r.Spoofed},
	} {
		if t := other.counted; t != nil && (other.always || t.Refused["total"].Packets > 0) {
			rows = append(rows, []cell{{text: other.name}, {text: other.ports}, {text: "nobody"},
				{text: counted(t.Refused, 0)}, {text: counted(t.Allowed, 0)}})
			lastUse = append(lastUse, "")
		}
	}
	if used {
		columns = append(columns, column{title: "USED"})
		for i := range rows {
			rows[i] = append(rows[i], cell{text: dash(lastUse[i])})
		}
	}
	if len(rows) == 0 {
		p.printf("No service is in force.\n")
		return
	}
	p.fitted(columns, rows)
}

// ports are those of a service, with interfaces and addresses if it has any.
func (p statusPrinter) ports(x serviceStatus) string {
	text := someWords(x.Ports, maxStatusPort)
	if len(x.Interfaces) > 0 {
		text += "\non " + someWords(x.Interfaces, maxStatusPort)
	}
	if len(x.Addresses) > 0 {
		text += "\nat " + someWords(x.Addresses, maxStatusPort)
	}
	return text
}

// someWords joins words, cut short.
func someWords(words []string, most int) string {
	if len(words) <= most {
		return strings.Join(words, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(words[:most-1], ", "), len(words)-most+1)
}

// from is who may reach a service: the entries of the policy, and leases with their ends.
func (p statusPrinter) from(x serviceStatus) string {
	text := p.entries(x.From, x.FromCount, maxFrom)
	if x.ExceptCount > 0 && x.FromCount > 0 {
		text += " except " + p.entries(x.Except, x.ExceptCount, maxFrom)
	}
	leases := p.leasesOf(x)
	if text == "" && len(leases) == 0 {
		return "nobody"
	}
	lines := []string{}
	if text != "" {
		lines = append(lines, text)
	}
	for i, l := range leases {
		if i == maxLeases && len(leases) > maxLeases+1 {
			lines = append(lines, fmt.Sprintf("and %d more leases", len(leases)-i))
			break
		}
		lines = append(lines, p.leaseOf(l, x))
	}
	return strings.Join(lines, "\n")
}

// entries are entries of allow or except; count is how many there are in all.
func (p statusPrinter) entries(list []host.Entries, count, most int) string {
	var words []string
	for _, e := range list {
		word := e.Entry
		switch {
		case e.Expires.IsZero():
		case e.Expires.After(p.now):
			word += " until " + p.moment(e.Expires)
		default:
			word += " (expired)"
		}
		words = append(words, word)
	}
	if count > len(words) || len(words) > most {
		shown := min(most-1, len(words))
		return fmt.Sprintf("%s and %d more", strings.Join(words[:shown], ", "), count-shown)
	}
	return strings.Join(words, ", ")
}

// leasesOf are the leases that are part of a service.
func (p statusPrinter) leasesOf(x serviceStatus) (list []lease.Lease) {
	for _, id := range x.LeaseIDs {
		for _, l := range p.r.Leases {
			if l.ID == id {
				list = append(list, l)
			}
		}
	}
	return list
}

// prefixWords are the first prefixes of a set, single addresses without their length.
func prefixWords(s address.Set, most int) (words []string) {
	for p := range s.All() {
		if len(words) == most {
			break
		}
		words = append(words, lease.Source(p))
	}
	return words
}

// leaseOf is a lease in its service's row.
func (p statusPrinter) leaseOf(l lease.Lease, x serviceStatus) string {
	sources := strings.Join(prefixWords(l.Sources, 3), ", ")
	if more := l.Sources.Len() - 3; more > 0 {
		sources += fmt.Sprintf(" and %d more", more)
	}
	ports := strings.TrimSuffix(l.Opens(), l.Opens()[strings.Index(l.Opens(), " to "):])
	on := ""
	if ports != strings.Join(x.Ports, ", ") {
		on = " on " + ports
	}
	if !l.Running(p.now) {
		return fmt.Sprintf("%s%s by lease %s, once the clock is past its opening", sources, on, l.ID)
	}
	return fmt.Sprintf("%s%s until %s (lease %s)", sources, on, p.moment(l.Until), l.ID)
}

// moment is a time with its zone, without the date if that is today's.
func (p statusPrinter) moment(t time.Time) string {
	t, now := t.Local(), p.now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04 MST")
	}
	return t.Format("2006-01-02 15:04 MST")
}

// counted is packets, and how many a minute if any came.
func counted(c map[string]firewall.Counter, perMinute float64) string {
	text := short(c["total"].Packets)
	switch {
	case perMinute >= 9.5:
		text += fmt.Sprintf(" %s/m", short(uint64(perMinute+.5)))
	case perMinute >= .05:
		text += fmt.Sprintf(" %.1f/m", perMinute)
	case perMinute > 0:
		text += " <.1/m"
	}
	return text
}

// short is a number in at most five characters.
func short(n uint64) string {
	if n < 100_000 {
		return strconv.FormatUint(n, 10)
	}
	value := float64(n)
	for _, unit := range []string{"k", "M", "G", "T", "P", "E"} {
		value /= 1000
		switch {
		case value < 99.95:
			return fmt.Sprintf("%.1f%s", value, unit)
		case value < 999.5:
			return fmt.Sprintf("%.0f%s", value, unit)
		}
	}
	return fmt.Sprintf("%.0fE", value)
}

// age is how long ago something was at most; "" if that is unknown.
func (p statusPrinter) age(w *usage.Window) string {
	if w == nil {
		return ""
	}
	switch d := p.now.Sub(w.After); {
	case d < 0:
		return ""
	case d < time.Minute:
		return fmt.Sprintf("<%ds", int(d.Seconds())+1)
	case d < time.Hour:
		return fmt.Sprintf("<%dm", int(d.Minutes())+1)
	case d < 48*time.Hour:
		return fmt.Sprintf("<%dh", int(d.Hours())+1)
	default:
		return fmt.Sprintf("<%dd", int(d.Hours()/24)+1)
	}
}

// since says what numbers of the table are.
func (p statusPrinter) since() string {
	for _, x := range p.r.Services {
		if x.Usage != nil {
			return " Counts are packets, and how many a minute (/m) since " +
				p.moment(x.Usage.Since) + "."
		}
	}
	return " Counts are packets."
}

// about prints what else is so, a line each.
func (p statusPrinter) about() {
	r := p.r
	var rows [][]cell
	add := func(what, is string) { rows = append(rows, []cell{{text: what}, {text: is}}) }
	add("Backend:", r.Backend)
	if r.Policy.Error == "" && r.Policy.Applied {
		add("Policy:", r.Policy.Origin)
	}
	if t := r.Tracking; t != nil && t.Limit > 0 {
		add("Tracked:", trackingWords(*t))
	}
	if b := r.Boot; b != nil && b.Well() {
		add("At boot:", booted(*b))
	}
	if d := r.Daemon; d != nil {
		add("Daemon:", fmt.Sprintf("process %d since %s; %s", d.PID, untilWords(d.Started),
			plural(int(d.Events["repaired"]), "repair")))
		if d.Protection.Protected {
			add("Protection:", "nobody else can change the rules")
		}
	} else if r.Generation != nil {
		add("Daemon:", "none runs; what others change stays until portgrave apply")
	}
	for _, n := range r.BackendNotes {
		add("Note:", n)
	}
	p.facts(rows)
}

// facts prints what things are, in lines that fit.
func (s *screen) facts(rows [][]cell) {
	widths := []int{0, 0}
	for _, row := range rows {
		widths[0] = max(widths[0], utf8.RuneCountInString(row[0].text))
	}
	widths[1] = max(s.columns, minColumns) - widths[0] - columnGap
	for _, row := range rows {
		s.fittedRow(widths, row)
	}
}
