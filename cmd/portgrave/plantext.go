package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/lease"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// Bounds on what a line of a plan names, unless --all is given.
const (
	maxEntries = 6 // of allow
	maxPorts   = 4
	maxLeases  = 6
)

// headColumns is how wide the column of service and ports gets; longer ones move what follows.
const headColumns = 28

// allServices stands for what holds for all services.
const allServices = "(all services)"

// planPrinter prints what changes in the words of the policy.
type planPrinter struct {
	*screen
	all   bool // name every source
	width int  // of the column of service and ports
}

func newPlanPrinter(s *screen, all bool, changes ...[]policydiff.Change) *planPrinter {
	p := &planPrinter{screen: s, all: all}
	for _, c := range slices.Concat(changes...) {
		if n := utf8.RuneCountInString(p.head(c)); n <= headColumns {
			p.width = max(p.width, n)
		}
	}
	return p
}

func (p *planPrinter) head(c policydiff.Change) string {
	if c.Service == "" {
		return allServices
	}
	return strings.TrimSpace(c.Service + " " + p.some(c.Ports, maxPorts))
}

// some joins words, cut short unless all are wanted.
func (p *planPrinter) some(words []string, most int) string {
	if p.all || len(words) <= most {
		return strings.Join(words, ", ")
	}
	shown := most - 1
	return fmt.Sprintf("%s and %d more", strings.Join(words[:shown], ", "), len(words)-shown)
}

// services prints a line for each service: "+ grafana tcp/3000  open to office, vpn".
func (p *planPrinter) services(changes []policydiff.Change) {
	for _, c := range changes {
		sign, colour := signOf(c.Action)
		p.line(sign, colour, p.head(c), p.parts(c))
		p.sources(c)
	}
}

// signOf marks what becomes of a service.
func signOf(a policydiff.Action) (sign, colour string) {
	switch a {
	case policydiff.Add:
		return "+", green
	case policydiff.Remove:
		return "-", red
	}
	return "~", yellow
}

// restored prints a line for each service whose rules others have changed.
func (p *planPrinter) restored(changes []policydiff.Change) {
	for _, c := range changes {
		var parts []string
		if len(c.Opens) > 0 {
			parts = append(parts, "lets in again "+p.openings(c.Opens))
		}
		if len(c.Closes) > 0 {
			parts = append(parts, "shuts out again "+p.openings(c.Closes))
		}
		for _, s := range c.Settings {
			if s.From == "missing" {
				parts = append(parts, "all rules are missing from the kernel")
				continue
			}
			if s.From == "1" {
				parts = append(parts, "1 rule is put right")
			} else {
				parts = append(parts, s.From+" rules are put right")
			}
		}
		p.line("!", yellow, p.head(c), parts)
	}
}

// line prints a line, or several if it is wider than the screen. Parts stand two blanks apart.
func (p *planPrinter) line(sign, colour, head string, parts []string) {
	const indent = "    "
	columns := max(p.columns, minColumns)
	var b strings.Builder
	at := 0
	put := func(gap, word string) {
		n := utf8.RuneCountInString(word)
		if at > 0 && at+len(gap)+n > columns {
			b.WriteString("\n" + indent)
			at, gap = len(indent), ""
		}
		b.WriteString(gap + word)
		at += len(gap) + n
	}
	put("", sign)
	for word := range strings.FieldsSeq(head) {
		put(" ", word)
	}
	if pad := p.width - utf8.RuneCountInString(head); pad > 0 && len(parts) > 0 {
		put("", strings.Repeat(" ", pad))
	}
	for _, part := range parts {
		gap := "  "
		for word := range strings.FieldsSeq(part) {
			put(gap, word)
			gap = " "
		}
	}
	text := b.String()
	p.printf("%s%s\n", p.paint(colour, text[:len(sign)]), text[len(sign):])
}

func (p *planPrinter) parts(c policydiff.Change) (parts []string) {
	settings := c.Settings
	except := ""
	take := func(key string) (policydiff.Setting, bool) {
		i := slices.IndexFunc(settings,
			func(s policydiff.Setting) bool { return s.Key == key && s.Source == "" })
		if i < 0 {
			return policydiff.Setting{}, false
		}
		s := settings[i]
		settings = slices.Concat(settings[:i], settings[i+1:])
		return s, true
	}
	switch c.Action {
	case policydiff.Add:
		if s, has := take("except"); has && len(c.Opens) > 0 {
			except = " except " + s.To
		}
		if len(c.Opens) == 0 {
			parts = append(parts, "open to nobody")
		} else {
			parts = append(parts, "open to "+p.openings(c.Opens)+except)
		}
	case policydiff.Remove:
		was := ""
		if len(c.Closes) > 0 {
			was = " (it was open to " + p.openings(c.Closes) + ")"
		}
		heirs, inherited := take(policydiff.KeyOwner)
		unlisted, _ := take("unlisted")
		switch {
		case inherited:
			parts = append(parts, "its ports belong to "+heirs.To+was)
		case unlisted.To == string(firewall.UnlistedDeny):
			parts = append(parts, "closed to everyone"+was)
		default:
			parts = append(parts, "no longer filtered by portgrave"+was)
		}
	default:
		if len(c.Opens) > 0 {
			parts = append(parts, "+ "+p.openings(c.Opens))
		}
		if len(c.Closes) > 0 {
			parts = append(parts, "- "+p.openings(c.Closes))
		}
	}
	for _, s := range settings {
		parts = append(parts, settingWords(c.Action, s))
	}
	return parts
}

func settingWords(a policydiff.Action, s policydiff.Setting) string {
	none := "none"
	if s.Key == "interfaces" || s.Key == "addresses" {
		none = "every one"
	}
	or := func(text string) string {
		if text == "" {
			return none
		}
		return text
	}
	switch {
	case s.Key == "expires":
		return fmt.Sprintf("%s until %s → %s", s.Source, endWords(s.From), endWords(s.To))
	case a == policydiff.Add:
		return s.Key + " " + or(s.To)
	}
	return fmt.Sprintf("%s %s → %s", s.Key, or(s.From), or(s.To))
}

func endWords(end string) string {
	if t, err := time.Parse(time.RFC3339, end); err == nil {
		return untilWords(t)
	}
	return end
}

// untilWords is a moment with its zone.
func untilWords(t time.Time) string { return t.Local().Format("2006-01-02 15:04 MST") }

func (p *planPrinter) openings(list []policydiff.Opening) string {
	var words []string
	for _, o := range list {
		if o.Network == "" && o.Entry == "" && o.Expires.IsZero() {
			words = append(words, p.sourceList(o)...)
			continue
		}
		words = append(words, p.opening(o))
	}
	return p.some(words, maxEntries)
}

func (p *planPrinter) opening(o policydiff.Opening) string {
	text := cmp.Or(o.Network, o.Entry)
	switch {
	case text == "":
		text = strings.Join(p.sourceList(o), ", ")
	case o.Part:
		text = strings.Join(p.sourceList(o), ", ") + " of " + o.Network
	}
	if len(o.Except) > 0 {
		text += " but " + p.some(o.Except, maxEntries)
	}
	if len(o.Ports) > 0 {
		text += " on " + p.some(o.Ports, maxPorts)
	}
	if !o.Expires.IsZero() {
		text += " until " + untilWords(o.Expires)
	}
	if o.Lease {
		text += " by a lease"
	}
	return text
}

// sourceList are a few sources, or how many there are.
func (p *planPrinter) sourceList(o policydiff.Opening) []string {
	if len(o.Sources) == 0 || len(o.Sources) > maxPrefixes {
		return []string{plural(o.Count, "source")}
	}
	words := make([]string, 0, len(o.Sources))
	for _, x := range o.Sources {
		if p, err := netip.ParsePrefix(x); err == nil {
			x = lease.Source(p)
		}
		words = append(words, x)
	}
	return words
}

// sources lists the sources of a service that its line only names or counts, if all are wanted.
func (p *planPrinter) sources(c policydiff.Change) {
	if !p.all {
		return
	}
	for _, list := range []struct {
		sign, colour string
		openings     []policydiff.Opening
	}{{"+", green, c.Opens}, {"-", red, c.Closes}} {
		for _, o := range list.openings {
			of := ""
			if o.Network != "" {
				of = "  (" + o.Network + ")"
			}
			for _, x := range o.Sources {
				p.printf("    %s %s%s\n", p.paint(list.colour, list.sign), x, of)
			}
			if len(o.Sources) < o.Count {
				p.printf("    %s %s%s\n", p.paint(list.colour, list.sign),
					plural(o.Count, "source"), of)
			}
		}
	}
}

// wrap prints a sentence in lines that fit.
func (p *planPrinter) wrap(text string) {
	p.printf("%s\n", wrapped(text, max(p.columns, minColumns)))
}

// leases prints the leases that stay, with who opened them.
func (p *planPrinter) leases(leases []lease.Lease) {
	for i, l := range leases {
		if i == maxLeases && len(leases) > maxLeases+1 && !p.all {
			p.printf("… and %d more leases (portgrave leases lists them)\n", len(leases)-i)
			return
		}
		p.wrap(leaseWords(l))
	}
}

// tally is how many services change, and how: "3 services (1 new, 1 changed, 1 removed)".
func tally(changes []policydiff.Change) (services int, kinds string) {
	count := map[policydiff.Action]int{}
	for _, c := range changes {
		if c.Service != "" {
			count[c.Action]++
			services++
		}
	}
	var words []string
	for _, k := range []struct {
		action policydiff.Action
		word   string
	}{{policydiff.Add, "new"}, {policydiff.Modify, "changed"}, {policydiff.Remove, "removed"}} {
		if n := count[k.action]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, k.word))
		}
	}
	return services, strings.Join(words, ", ")
}
