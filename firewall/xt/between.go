package xt

import (
	"context"
	"errors"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Between words the difference between two States for the host's iptables programs, without a look
// at the kernel; nil is a host without rules of ours. A State that iptables can't enforce is an
// error.
func Between(ctx context.Context, from, to *firewall.State,
	now time.Time) ([]firewall.Change, error) {
	h := host{variant: nfVariant, ipset: true, families: address.Families,
		security: map[address.Family]bool{}}
	if p, err := detect(ctx, find); err == nil { // else these words are read on another host
		h.variant, h.families = p.variant, p.families
	}
	for _, f := range h.families {
		h.security[f] = true
	}
	return between(from, to, now, h)
}

// between is Between for a host. It is pure.
func between(from, to *firewall.State, now time.Time, h host) ([]firewall.Change, error) {
	have, want := newRuleset(), newRuleset()
	if from != nil {
		have = compile(*from, now, slots{}, h)
		for _, s := range have.sets { // as if it had been read from the kernel
			s.elements = held(s.elements)
		}
	}
	if to != nil {
		if err := errors.Join(limitErrors(*to, h, now)...); err != nil {
			return nil, err
		}
		want = compile(*to, now, slots{}, h)
	}
	want.readAt = now
	return compare(want, have).changes(), nil
}

// held is what a kernel would hold of elements.
func held(all elements) *list {
	l := &list{}
	for e := range all.all() {
		l.add(e)
	}
	return l
}
