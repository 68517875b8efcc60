package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// maxEffects is how many ports people are told of unless they want all.
const maxEffects = 12

// effect prints who gains and who loses access; nil effects aren't known. changes have the names of
// the networks that they concern.
func (p *planPrinter) effect(effects *[]host.Effect, unknown string, changes []policydiff.Change) {
	switch {
	case effects == nil && unknown != "":
		p.wrap("Who gains or loses access isn't known: " + printable(unknown) + ".")
		return
	case effects == nil:
		return
	case len(*effects) == 0:
		p.wrap("Nobody gains or loses access to what listens or is published on this host.")
	default:
		p.wrap("Through all rules of this host:")
	}
	names := namesIn(changes)
	for i, e := range *effects {
		if more := len(*effects) - i; i == maxEffects-1 && more > 1 && !p.all {
			p.printf("  … and %s more (--all lists them)\n", plural(more, "port"))
			break
		}
		p.printf("  %s\n", strings.ReplaceAll(
			wrapped(effectLine(e, names), max(p.columns, minColumns)-2), "\n", "\n  "))
	}
	if unknown != "" {
		p.wrap("This may not be all: " + printable(unknown) + ".")
	}
}

// effectLine is an effect in a line: "tcp/5432 postgres: 10.20.0.0/16 gains · 192.0.2.0/24 loses (2
// connections now) · opened, but ufw still refuses it".
func effectLine(e host.Effect, names []namedSources) string {
	var parts []string
	who := func(s address.Set, one, many string) bool {
		if s.Len() == 0 {
			return false
		}
		words, several := sourceWords(s, names)
		if several {
			one = many
		}
		parts = append(parts, words+" "+one)
		return true
	}
	who(e.Gains, "gains", "gain")
	who(e.MayGain, "may gain", "may gain")
	lost := who(e.Loses, "loses", "lose")
	lost = who(e.MayLose, "may lose", "may lose") || lost
	switch n := e.Connections; {
	case n > 0 && lost:
		parts[len(parts)-1] += fmt.Sprintf(" (%s now)", plural(n, "connection"))
	case n > 0:
		parts = append(parts, plural(n, "connection")+" "+verbFor(n, "ends", "end"))
	}
	switch {
	case e.BlockedBy == "":
	case e.BlockedBy == e.BlockedRule: // no program's
		parts = append(parts, "opened, but "+blockedWords(e, names)+" can't connect: "+
			printable(e.BlockedBy))
	default:
		parts = append(parts, "opened, but "+printable(e.BlockedBy)+" still refuses "+
			blockedWords(e, names))
	}
	return effectName(e) + ": " + strings.Join(parts, " · ")
}

// blockedWords is whom something else refuses: "it" if that is everyone for whom the plan opens it,
// and a program does so.
func blockedWords(e host.Effect, names []namedSources) string {
	if e.Gains.Len()+e.MayGain.Len() == 0 && e.BlockedBy != e.BlockedRule {
		return "it"
	}
	words, _ := sourceWords(e.Blocked, names)
	return words
}

// effectName names the port: "tcp/8080 nginx at 192.0.2.1 by eth0".
func effectName(e host.Effect) string {
	s := fmt.Sprintf("%s/%d", e.Protocol, e.Port)
	if e.PortLast > 0 {
		s += fmt.Sprintf("-%d", e.PortLast)
	}
	if e.Process != "" {
		s += " " + printable(e.Process)
	}
	if e.Container != "" {
		s += " in " + printable(e.Container)
	} else if e.Process == "" && e.Target != "" {
		s += " → " + printable(e.Target)
	}
	if len(e.Addresses) > 0 {
		s += " at " + strings.Join(e.Addresses, ", ")
	}
	if len(e.Interfaces) > 0 {
		s += " by " + strings.Join(e.Interfaces, ", ")
	}
	return s
}

// namedSources are a network of the policy.
type namedSources struct {
	name    string
	sources address.Set
}

// namesIn are the networks that changes name, as far as their sources are listed.
func namesIn(changes []policydiff.Change) (out []namedSources) {
	seen := map[string]bool{}
	for _, c := range changes {
		for _, list := range [][]policydiff.Opening{c.Opens, c.Closes} {
			for _, o := range list {
				if o.Network == "" || o.Part || len(o.Except) > 0 || len(o.Sources) < o.Count ||
					seen[o.Network] || o.Network == "any" {
					continue
				}
				seen[o.Network] = true
				if s, ok := setOf(o.Sources); ok {
					out = append(out, namedSources{o.Network, s})
				}
			}
		}
	}
	return out
}

// everyoneWords are the words for all sources of one IP version or both; "" for others.
func everyoneWords(s address.Set) string {
	switch strings.Join(s.FirstStrings(2), " ") {
	case "0.0.0.0/0 ::/0":
		return "everyone"
	case "0.0.0.0/0":
		return "everyone over IPv4"
	case "::/0":
		return "everyone over IPv6"
	}
	return ""
}

// setOf is the set of some CIDRs; false if there are none, or one is something else.
func setOf(cidrs []string) (address.Set, bool) {
	var list []netip.Prefix
	for _, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			return address.Set{}, false
		}
		list = append(list, p)
	}
	s, err := address.New(list...)
	return s, err == nil && s.Len() > 0
}

// maxNameable is the most prefixes of sources that are worth a search for names; longer lists are
// only counted.
const maxNameable = 2000

// sourceWords is sources for people, by the names of networks where they are all there: "office,
// vpn, 192.0.2.0/24". several is false for a single one.
func sourceWords(s address.Set, names []namedSources) (words string, several bool) {
	if s.Len() > maxNameable {
		return plural(s.Len(), "network"), true
	}
	var list []string
	for _, n := range names {
		if n.sources.Minus(s).Len() == 0 {
			list, s = append(list, n.name), s.Minus(n.sources)
		}
	}
	if in, out := s.Short(); everyoneWords(in) != "" && len(list) == 0 {
		if out.Len() == 0 {
			return everyoneWords(in), false
		}
		but, _ := sourceWords(out, names)
		return everyoneWords(in) + " but " + but, false
	}
	if !s.IsZero() {
		list = append(list, audit.PrefixWords(s))
	}
	return strings.Join(list, ", "), len(list) > 1 || s.Len() > 1
}
