package xt

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// keptSources are the sources that leave the rules of their service for a set, or a set for rules,
// and are let in before as after: to people nothing happens to them.
type keptSources map[sourceKey]bool

type sourceKey struct {
	service string // its id
	prefix  netip.Prefix
}

// kept finds them. A set that goes counts only if a rule led to it: without one it let nobody in.
func (d difference) kept() keptSources {
	gone, come := keptSources{}, keptSources{}
	some, led := map[string]bool{}, map[string]bool{}
	for _, t := range d.tables {
		for _, c := range t.chainsChanged {
			note := func(which keptSources, r rule) {
				if p, ok := sourceIn(c.want, t.key.family, r); ok {
					which[sourceKey{id(c.want.service), p}] = true
					some[id(c.want.service)] = true
				}
			}
			firewall.DiffLists(
				c.want.rules,
				c.have.rules,
				sameRule,
				func(r rule) { note(come, r) },
				func(r rule) {
					note(gone, r)
					if r.target == allowChain(c.want.service) {
						for _, name := range r.sets {
							led[name] = true
						}
					}
				},
			)
		}
	}
	out := keptSources{}
	find := func(among keptSources, s *set) {
		if s.kind == kindUntil || !some[id(s.service)] {
			return
		}
		for e := range s.elements.all() {
			if key := (sourceKey{id(s.service), e.prefix}); among[key] {
				out[key] = true
			}
		}
	}
	for _, s := range d.sets.new {
		find(gone, s)
	}
	for _, s := range d.sets.gone {
		if led[s.name] {
			find(come, s)
		}
	}
	return out
}

// of tells which elements of a set are kept.
func (k keptSources) of(s *set) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool {
		return s.kind != kindUntil && k[sourceKey{id(s.service), p}]
	}
}

// everything is what a rule without a condition lets in.
var everything = map[address.Family]string{
	address.IPv4: "0.0.0.0/0", address.IPv6: "::/0",
}

// sourceIn is the source that a rule of a service's source chain lets in, if that is all it does.
func sourceIn(c *chain, f address.Family, r rule) (netip.Prefix, bool) {
	if c.service == "" || c.name != sourceChain(c.service) || r.target != allowChain(c.service) {
		return netip.Prefix{}, false
	}
	text := r.source
	if r.unconditional {
		text = everything[f]
	}
	p, err := netip.ParsePrefix(text)
	return p, err == nil
}
