package xtables

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iana"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// header translates what every rule can ask: ip_packet_match in net/ipv4/netfilter/ip_tables.c,
// ip6_packet_match in net/ipv6/netfilter/ip6_tables.c. nil where it asks for nothing.
func (x *translator) header(o iptsave.Option) exposure.Statement {
	switch o.Name {
	case "-s", "-d":
		field := fieldsFor(x.family).source
		if o.Name == "-d" {
			field = fieldsFor(x.family).dest
		}
		return x.addresses(field, o)
	case "-i":
		return matchName(exposure.FieldInName, o)
	case "-o":
		return matchName(exposure.FieldOutName, o)
	case "-p":
		name := strings.ToLower(o.Value())
		n, ok := iana.Protocol(name)
		switch {
		case name == "all" && !o.Not || ok && n == 0 && !o.Not:
			return nil
		case !ok || n == 0:
			// iptables refuses "! -p all", and what "hopopt" means to ip6tables is not "all".
			return unknown(o)
		}
		return is(
			exposure.Of(exposure.FieldProtocol),
			o.Not,
			exposure.One(exposure.Number(uint64(n))),
		)
	case "-f":
		return is(exposure.Of(exposure.FieldFragment), o.Not, exposure.One(exposure.Number(1)))
	}
	return nil // -c: the counters; -4, -6: see rule
}

// addresses matches an address against "a/m", or a list of them, which iptables makes rules of.
func (x *translator) addresses(field exposure.Field, o iptsave.Option) exposure.Statement {
	if m, ok := parseMasked(x.family, o.Value()); ok {
		if m.mask.IsZero() && !o.Not {
			return nil // iptables doesn't print what all packets meet
		}
		return matchMasked(field, m, o.Not)
	}
	var ranges []exposure.Range
	for part := range strings.SplitSeq(o.Value(), ",") {
		m, ok := parseMasked(x.family, part)
		if !ok || !m.prefix.IsValid() || o.Not {
			return unknown(o)
		}
		ranges = append(ranges, exposure.Prefix(m.prefix))
	}
	return is(exposure.Of(field), false, ranges...)
}

// matchName compares an interface name: "eth+" is every name that begins with eth, "+" every name
// and none.
func matchName(field exposure.Field, o iptsave.Option) exposure.Statement {
	r, ok := nameRange(o.Value())
	if !ok {
		return unknown(o)
	}
	return is(exposure.Of(field), o.Not, r)
}

// nameRange is the names that an interface argument stands for; false for one that is too long:
// IFNAMSIZ is 16, with the zero at the end.
func nameRange(s string) (exposure.Range, bool) {
	if stem, wild := strings.CutSuffix(s, "+"); wild {
		return exposure.NamePrefix(stem), len(stem) <= 15
	}
	return exposure.One(exposure.Name(s)), s != "" && len(s) <= 15
}
