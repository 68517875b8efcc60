package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// Draft is a policy that is put together from what is found on a host, to be written down for
// people.
type Draft struct {
	// Comments are sentences at the head of the document.
	Comments []string
	Unlisted firewall.Unlisted
	Refuse   firewall.Refuse
	// Closed are essentials that are turned off.
	Closed   firewall.Essentials
	Direct   []string
	Networks []DraftNetwork
	Services []DraftService
}

// DraftNetwork is a named set of sources. Where a service's sources hold all of it, the document
// has its name.
type DraftNetwork struct {
	Name    string
	Sources firewall.Prefixes
	// File is where the set stands, beside the document; "": in it.
	File string
}

// DraftService is a service as it is written down.
type DraftService struct {
	firewall.Service
	Purpose string
	// Comments stand in the service, each a comment of its own.
	Comments []string
	// Idle: the whole service is a comment.
	Idle bool
}

// Document writes a draft down as a policy that compiles to it. Services that expire can't be
// written.
func (d Draft) Document() string {
	var b strings.Builder
	for _, c := range d.Comments {
		comment(&b, "", c)
	}
	b.WriteString("version: 1\n")
	if d.Unlisted == firewall.UnlistedDeny {
		b.WriteString("unlisted: deny\n")
	}
	if d.Refuse == firewall.RefuseReject {
		b.WriteString("refuse: reject\n")
	}
	if d.Closed != 0 {
		var words []string
		for _, name := range d.Closed.Names() {
			words = append(words, name+": false")
		}
		fmt.Fprintf(&b, "essentials: {%s}\n", strings.Join(words, ", "))
	}
	if len(d.Direct) > 0 {
		var words []string
		for _, i := range d.Direct {
			words = append(words, plainOrQuoted(i))
		}
		fmt.Fprintf(&b, "direct: {interfaces: [%s]}\n", strings.Join(words, ", "))
	}
	var services, idle strings.Builder
	used := map[string]bool{}
	for _, s := range d.Services {
		if !s.Idle {
			d.service(&services, s, used)
		}
	}
	for _, s := range d.Services {
		if s.Idle {
			d.service(&idle, s, used)
		}
	}
	d.networks(&b, used)
	if services.Len() == 0 {
		b.WriteString("services: []\n")
	} else {
		b.WriteString("services:\n" + services.String())
	}
	if idle.Len() > 0 {
		b.WriteString("\n  # Opened by the old rules, though nobody listens there today; remove the # to open them:\n")
		for line := range strings.Lines(idle.String()) {
			b.WriteString("  #" + strings.TrimPrefix(line, "  "))
		}
	}
	return b.String()
}

// networks writes the networks that services name.
func (d Draft) networks(b *strings.Builder, used map[string]bool) {
	if len(used) == 0 {
		return
	}
	b.WriteString("networks:\n")
	for _, n := range d.Networks {
		switch {
		case !used[n.Name]:
		case n.File != "":
			fmt.Fprintf(b, "  %s: {file: %s}\n", plainOrQuoted(n.Name), plainOrQuoted(n.File))
		default:
			flow(b, "  "+plainOrQuoted(n.Name)+": ", sourcesOf(n.Sources))
		}
	}
}

// service writes one service, and notes the networks that it names.
func (d Draft) service(b *strings.Builder, s DraftService, used map[string]bool) {
	fmt.Fprintf(b, "  - name: %s\n", plainOrQuoted(s.Name))
	var ports []string
	protocols := map[firewall.Protocol]bool{}
	for _, r := range s.Ports {
		first := len(protocols) == 0 || protocols[r.Protocol] && len(protocols) == 1
		if protocols[r.Protocol] = true; !r.Protocol.HasPorts() || !first {
			continue // each protocol has the same ports
		}
		if r.First == r.Last {
			ports = append(ports, strconv.Itoa(int(r.First)))
		} else {
			ports = append(ports, fmt.Sprintf("%q", fmt.Sprintf("%d-%d", r.First, r.Last)))
		}
	}
	if len(ports) == 1 {
		fmt.Fprintf(b, "    port: %s\n", ports[0])
	} else if len(ports) > 1 {
		flow(b, "    port: ", ports)
	}
	var words []string
	for _, p := range slices.Sorted(maps.Keys(protocols)) {
		words = append(words, protocolText(p))
	}
	if len(words) == 1 && words[0] != firewall.TCP.String() {
		fmt.Fprintf(b, "    protocol: %s\n", words[0])
	} else if len(words) > 1 {
		flow(b, "    protocol: ", words)
	}
	if len(s.Interfaces) > 0 {
		var names []string
		for _, n := range s.Interfaces {
			names = append(names, plainOrQuoted(n))
		}
		flow(b, "    interfaces: ", names)
	}
	if s.Addresses.Len() > 0 {
		flow(b, "    addresses: ", singlesOf(s.Addresses))
	}
	names, rest := d.named(s.Sources, used)
	allow, except := rest.Short()
	if len(names) > 0 { // an exception would hold for the networks, too
		allow, except = rest, firewall.Prefixes{}
	}
	flow(b, "    allow: ", append(names, sourcesOf(allow)...))
	barred, rest := d.named(except, used)
	// IPv4-mapped sources can't be written, and the kernel takes them from no wire.
	list := append(barred, slices.DeleteFunc(
		sourcesOf(rest),
		func(s string) bool { return strings.HasPrefix(s, `"::ffff:`) && strings.Contains(s, ".") },
	)...)
	if len(list) > 0 {
		flow(b, "    except: ", list)
	}
	if s.Rate != nil {
		fmt.Fprintf(b, "    rate: {%s}\n", rateText(*s.Rate))
	}
	if s.Purpose != "" {
		fmt.Fprintf(b, "    purpose: %s\n", plainOrQuoted(s.Purpose))
	}
	for _, c := range s.Comments {
		comment(b, "    ", c)
	}
}

// named finds the networks that a set holds, wherever that is shorter, and what it has besides.
func (d Draft) named(p firewall.Prefixes, used map[string]bool) (names []string, rest firewall.Prefixes) {
	for _, n := range d.Networks {
		if n.Sources.Len() == 0 || n.Sources.Len() > p.Len() ||
			!n.Sources.Intersect(p).Equal(n.Sources) {
			continue
		}
		if rest := p.Minus(n.Sources); rest.Len()+1 < p.Len() {
			p = rest
			used[n.Name] = true
			names = append(names, plainOrQuoted(n.Name))
		}
	}
	return names, p
}

func rateText(r firewall.Rate) string {
	unit := map[time.Duration]string{time.Second: "second", time.Minute: "minute", time.Hour: "hour",
		24 * time.Hour: "day"}[r.Per]
	text := fmt.Sprintf("per_source: %d/%s, burst: %d", r.Count, unit, r.Burst)
	if n := r.PrefixLength(firewall.IPv6); n != firewall.DefaultRatePrefix {
		text += fmt.Sprintf(", ipv6_prefix: %d", n)
	}
	return text
}

// lineWidth is where lists and comments are wrapped.
const lineWidth = 100

// flow writes a key with a list in brackets, on as many lines as it takes.
func flow(b *strings.Builder, key string, words []string) {
	indent := strings.Repeat(" ", len(key)-len(strings.TrimLeft(key, " "))+2)
	b.WriteString(key + "[")
	at := len(key) + 1
	for i, w := range words {
		if i < len(words)-1 {
			w += ","
		}
		if i > 0 && at+1+len(w) >= lineWidth {
			b.WriteString("\n" + indent)
			at = len(indent)
		} else if i > 0 {
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += len(w)
	}
	b.WriteString("]\n")
}

// comment writes a text as comment lines; what a rule says may hold anything.
func comment(b *strings.Builder, indent, text string) {
	line := indent + "#"
	for _, w := range strings.Fields(printable(text)) {
		if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) > lineWidth && line != indent+"#" {
			b.WriteString(line + "\n")
			line = indent + "#  "
		}
		line += " " + w
	}
	b.WriteString(line + "\n")
}

// sourcesOf writes prefixes as people do: an address alone, any for everything.
func sourcesOf(p firewall.Prefixes) []string {
	if p.Equal(builtIn["any"]) {
		return []string{"any"}
	}
	out := make([]string, 0, p.Len())
	for x := range p.All() {
		s := x.String()
		if x.IsSingleIP() {
			s = x.Addr().String()
		}
		if x.Addr().Is6() {
			s = strconv.Quote(s)
		}
		out = append(out, s)
	}
	return out
}

// singlesOf writes addresses one by one.
func singlesOf(p firewall.Prefixes) (out []string) {
	for x := range p.All() {
		for a := x.Addr(); x.Contains(a); a = a.Next() {
			one, _ := firewall.NewPrefixes(netip.PrefixFrom(a, a.BitLen())) // one address makes a set
			out = append(out, sourcesOf(one)...)
		}
	}
	return out
}

// List is a network's file: a prefix a line.
func (n DraftNetwork) List() string {
	var b strings.Builder
	for x := range n.Sources.All() {
		if x.IsSingleIP() {
			b.WriteString(x.Addr().String())
		} else {
			b.WriteString(x.String())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// plainOrQuoted is a text that YAML reads as that text: in quotes, unless it is a plain word, a path,
// an address or a JSON path.
func plainOrQuoted(s string) string {
	if plainText.MatchString(s) && !slices.Contains(otherScalars, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(printable(s))
}

// plainText can't be a number, a date or anything else but a text to YAML. Digits need two dots or a
// slash.
var plainText = pattern.New(`^([a-zA-Z][\w./-]*|\.{0,2}/[\w./-]*|\$[\w./-]*|` +
	`[0-9]+(\.[0-9]+\.[\w./-]*|[0-9.]*/[\w./-]*))$`)

// otherScalars are words that YAML reads as something else than text.
var otherScalars = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

// printable is a text without what would end a line or a string.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' || r == '\u0085' || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}
