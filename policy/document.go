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
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pattern"
)

// Draft is a policy generated from what is found on a host.
type Draft struct {
	// Comments are sentences for the head of the document.
	Comments []string
	Unlisted firewall.Unlisted
	Refuse   firewall.Refuse
	// Closed are the essentials that the policy turns off.
	Closed   firewall.Essentials
	Direct   []string
	Networks []DraftNetwork
	Services []DraftService
}

// DraftNetwork is a named set of sources. The document writes its name where a service allows or
// excepts all of it.
type DraftNetwork struct {
	Name    string
	Sources address.Set
	// File is the list file beside the document that holds the set; "" writes it into the document.
	File string
}

// DraftService is one service of a Draft.
type DraftService struct {
	firewall.Service
	Purpose string
	// Comments are written into the service, each as a comment of its own.
	Comments []string
	// Idle is true if nothing uses the service; the document then writes it as a comment. A reader
	// can remove the # only if another service isn't idle.
	Idle bool
}

// Document writes a draft as a policy that compiles to it. It can't write services that expire.
func (d Draft) Document() string {
	var b strings.Builder
	for _, c := range d.Comments {
		writeComment(&b, "", c)
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
			words = append(words, yamlScalar(i))
		}
		fmt.Fprintf(&b, "direct: {interfaces: [%s]}\n", strings.Join(words, ", "))
	}
	var services, idle strings.Builder
	used := map[string]bool{}
	for _, s := range d.Services {
		if !s.Idle {
			d.writeService(&services, s, used)
		}
	}
	for _, s := range d.Services {
		if s.Idle {
			d.writeService(&idle, s, used)
		}
	}
	d.writeNetworks(&b, used)
	if services.Len() == 0 {
		b.WriteString("services: []\n")
	} else {
		b.WriteString("services:\n" + services.String())
	}
	if idle.Len() > 0 {
		b.WriteString("\n  # Opened by the old rules, though nobody listens there today; " +
			"remove the # to open them:\n")
		for line := range strings.Lines(idle.String()) {
			b.WriteString("  #" + strings.TrimPrefix(line, "  "))
		}
	}
	return b.String()
}

// writeNetworks writes the networks that services use.
func (d Draft) writeNetworks(b *strings.Builder, used map[string]bool) {
	if len(used) == 0 {
		return
	}
	b.WriteString("networks:\n")
	for _, n := range d.Networks {
		switch {
		case !used[n.Name]:
		case n.File != "":
			fmt.Fprintf(b, "  %s: {file: %s}\n", yamlScalar(n.Name), yamlScalar(n.File))
		default:
			writeList(b, "  "+yamlScalar(n.Name)+": ", sourcesOf(n.Sources))
		}
	}
}

// writeService writes one service and marks the networks that it uses.
func (d Draft) writeService(b *strings.Builder, s DraftService, used map[string]bool) {
	fmt.Fprintf(b, "  - name: %s\n", yamlScalar(s.Name))
	var ports []string
	protocols := map[firewall.Protocol]bool{}
	for _, r := range s.Ports {
		first := len(protocols) == 0 || protocols[r.Protocol] && len(protocols) == 1
		if protocols[r.Protocol] = true; !r.Protocol.HasPorts() || !first {
			continue // the ports are the same for each protocol
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
		writeList(b, "    port: ", ports)
	}
	var words []string
	for _, p := range slices.Sorted(maps.Keys(protocols)) {
		words = append(words, protocolText(p))
	}
	if len(words) == 1 && words[0] != firewall.TCP.String() {
		fmt.Fprintf(b, "    protocol: %s\n", words[0])
	} else if len(words) > 1 {
		writeList(b, "    protocol: ", words)
	}
	if len(s.Interfaces) > 0 {
		var names []string
		for _, n := range s.Interfaces {
			names = append(names, yamlScalar(n))
		}
		writeList(b, "    interfaces: ", names)
	}
	if s.Addresses.Len() > 0 {
		writeList(b, "    addresses: ", addressesOf(s.Addresses))
	}
	allow, except := d.shortest(s.Sources)
	for _, n := range slices.Concat(allow.networks, except.networks) {
		used[n] = true
	}
	writeList(b, "    allow: ", allow.words())
	// The language can't express IPv4-mapped sources, and the kernel accepts them from no network.
	list := slices.DeleteFunc(
		except.words(),
		func(s string) bool { return strings.HasPrefix(s, `"::ffff:`) && strings.Contains(s, ".") },
	)
	if len(list) > 0 {
		writeList(b, "    except: ", list)
	}
	if s.Rate != nil {
		fmt.Fprintf(b, "    rate: {%s}\n", rateText(*s.Rate))
	}
	if s.Purpose != "" {
		fmt.Fprintf(b, "    purpose: %s\n", yamlScalar(s.Purpose))
	}
	for _, c := range s.Comments {
		writeComment(b, "    ", c)
	}
}

// named is a set of sources in the document's words: networks by name, and the rest.
type named struct {
	networks []string
	rest     address.Set
}

func (n named) len() int { return len(n.networks) + n.rest.Len() }

func (n named) words() (out []string) {
	for _, name := range n.networks {
		out = append(out, yamlScalar(name))
	}
	return append(out, sourcesOf(n.rest)...)
}

// muchShorter is how many times shorter names make a list if it isn't worth a look for exceptions.
const muchShorter = 16

// shortest writes a set as a list, or as a list with exceptions if that is shorter.
func (d Draft) shortest(p address.Set) (allow, except named) {
	plain := d.named(p)
	if plain.len() <= 2 || plain.len() < p.Len()/muchShorter {
		return plain, named{} // looking for exceptions takes time in proportion to the set
	}
	in, out := p.Short()
	less, without := d.named(in), d.named(out)
	if plain.len() <= less.len()+without.len() {
		return plain, named{}
	}
	return less, without
}

// named writes a set with the names of networks that it contains, where the list isn't longer so.
func (d Draft) named(p address.Set) (out named) {
	for _, n := range d.Networks {
		if n.Sources.Len() == 0 || n.Sources.Len() > p.Len() ||
			!n.Sources.Intersect(p).Equal(n.Sources) {
			continue
		}
		if rest := p.Minus(n.Sources); rest.Len()+1 <= p.Len() {
			p = rest
			out.networks = append(out.networks, n.Name)
		}
	}
	out.rest = p
	return out
}

func rateText(r firewall.Rate) string {
	unit := map[time.Duration]string{
		time.Second:    "second",
		time.Minute:    "minute",
		time.Hour:      "hour",
		24 * time.Hour: "day",
	}[r.Per]
	text := fmt.Sprintf("per_source: %d/%s, burst: %d", r.Count, unit, r.Burst)
	if n := r.PrefixLength(address.IPv6); n != firewall.DefaultRatePrefix {
		text += fmt.Sprintf(", ipv6_prefix: %d", n)
	}
	return text
}

// maxLineWidth is the column at which lists and comments wrap.
const maxLineWidth = 100

// writeList writes a key with a list in brackets, and wraps it.
func writeList(b *strings.Builder, key string, words []string) {
	indent := strings.Repeat(" ", len(key)-len(strings.TrimLeft(key, " "))+2)
	b.WriteString(key + "[")
	at := len(key) + 1
	for i, w := range words {
		if i < len(words)-1 {
			w += ","
		}
		if i > 0 && at+1+len(w) >= maxLineWidth {
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

// writeComment writes a text as comment lines. The text may contain anything, since it may come
// from other programs' rules.
func writeComment(b *strings.Builder, indent, text string) {
	line := indent + "#"
	for _, w := range strings.Fields(printable(text)) {
		width := utf8.RuneCountInString(line) + 1 + utf8.RuneCountInString(w)
		if width > maxLineWidth && line != indent+"#" {
			b.WriteString(line + "\n")
			line = indent + "#  "
		}
		line += " " + w
	}
	b.WriteString(line + "\n")
}

// sourcesOf writes prefixes as people do: single addresses without a length, and everything as any.
func sourcesOf(p address.Set) []string {
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

// addressesOf writes each address of a set.
func addressesOf(p address.Set) (out []string) {
	for x := range p.All() {
		for a := x.Addr(); x.Contains(a); a = a.Next() {
			// A single address never fails.
			one, _ := address.New(netip.PrefixFrom(a, a.BitLen()))
			out = append(out, sourcesOf(one)...)
		}
	}
	return out
}

// List returns the content of a network's file: one prefix a line.
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

// yamlScalar returns s so that YAML reads it as text. It adds quotes unless s is a plain word, a
// path, an address or a JSON path.
func yamlScalar(s string) string {
	if plainText.MatchString(s) && !slices.Contains(nonTextWords, strings.ToLower(s)) {
		return s
	}
	return strconv.Quote(printable(s))
}

// plainText matches text that YAML can't take for a number or a date. Text that begins with a digit
// needs two dots or a slash.
var plainText = pattern.New(`^([a-zA-Z][\w./-]*|\.{0,2}/[\w./-]*|\$[\w./-]*|` +
	`[0-9]+(\.[0-9]+\.[\w./-]*|[0-9.]*/[\w./-]*))$`)

// nonTextWords are words that YAML doesn't read as text.
var nonTextWords = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

// printable replaces characters that would end a line or a string.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ', r == 0x7f, r == '\uFFFD', r == '\u0085', r == '\u2028', r == '\u2029':
			return ' '
		}
		return r
	}, s)
}
