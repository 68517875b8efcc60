package nft

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// memory is what a Backend remembers of the kernel, so that a table that has not changed need not
// be read again, however large it is.
//
// What it remembers holds only in the kernel's generation in which it was seen: every transaction
// of anybody makes a new one. In a table that only our socket can change, it holds in every
// generation, until we change it ourselves. What passes without a transaction, the end of sources
// that expire and the counters, is always read.
type memory struct {
	// seen is the table as it was read, in its generation.
	seen *ruleset
	// expected is the table as our last transactions made it, in their generation; nil if they
	// failed or others have committed.
	expected *ruleset
	// cuts are the last pieces of each part: a State is compiled more often than it changes.
	cuts map[part]*pieces
	// compiled is the last ruleset that was compiled from a State, if it does not depend on the
	// time.
	compiled *compilation
}

// forget is called before anything is written.
func (m *memory) forget() { m.seen, m.expected = nil, nil }

// expect is called when the table that was seen was turned into another, and nothing was written by
// others in between.
func (m *memory) expect(p program, seen *ruleset, generation uint32) {
	if p.result == nil || !p.result.present {
		return
	}
	r := *p.result
	r.generation = generation
	r.sets = maps.Clone(r.sets)
	named := map[string]bool{}
	for _, ops := range p.all() {
		for _, o := range ops {
			switch o := o.(type) {
			case addElements:
				named[o.set] = true
			case delElements:
				named[o.set] = true
			case flushSet:
				named[o.name] = true
			}
		}
	}
	for name, s := range r.sets {
		if seen.sameSet(s) != nil && !named[name] {
			proven := *s
			proven.proven = true
			r.sets[name] = &proven
		}
	}
	m.expected = &r
}

// cut makes pieces of a part's sources, from those of last time where they have changed a little.
func (m *memory) cut(p part, sources address.Set, as form) *pieces {
	last := m.cuts[p]
	if last != nil && last.form == as && last.sources.Equal(sources) {
		last.sources = sources // in the caller's memory, not kept twice
		return last
	}
	if m.cuts == nil {
		m.cuts = map[part]*pieces{}
	}
	m.cuts[p] = last.recut(sources, p.family, as)
	return m.cuts[p]
}

// compile is the ruleset of a State, or that of last time if it would be the same. A daemon asks
// again and again.
func (m *memory) compile(want firewall.State, now time.Time, use layout) *ruleset {
	last := m.compiled
	if last != nil && last.fits(want, use) {
		last.want = want // in the caller's memory, not kept twice
		r := *last.ruleset
		r.readAt = now
		return &r
	}
	use.cut = m.cut
	r := compile(want, now, use)
	m.compiled = nil
	if !slices.ContainsFunc(want.Services,
		func(s firewall.Service) bool { return len(s.AllExpiring()) > 0 }) { // depends on the time
		use.second, use.parts, use.have = maps.Clone(
			use.second,
		), maps.Clone(use.parts), nil // Diff goes on to change them
		m.compiled = &compilation{want, use, r}
	}
	return r
}

// compilation is a ruleset with what it was made from.
type compilation struct {
	want firewall.State
	use  layout
	*ruleset
}

func (c *compilation) fits(want firewall.State, use layout) bool {
	if !maps.Equal(c.use.second, use.second) ||
		!maps.Equal(c.use.parts, use.parts) && !c.placedAt(use.parts) ||
		!c.want.Equal(want) {
		return false
	}
	for name, s := range c.sets { // whose sizes are those that the kernel's have, or new
		if h := use.have.sets[name]; s.kind == kindPrefix &&
			(h == nil || h.spec.Size != s.spec.Size) {
			return false
		}
	}
	return true
}

// placedAt reports whether the parts stand where the ruleset puts them.
func (c *compilation) placedAt(parts map[part]placement) bool {
	for p, at := range parts {
		now, large := c.large[p]
		if large && now.at != at || !large && at.shape != shapeSmall {
			return false
		}
	}
	return true
}

// look reads the table, as far as it can have changed.
func (b *Backend) look() (*ruleset, error) {
	if r, err := b.unchanged(); r != nil || err != nil {
		return r, err
	}
	known := b.expected
	if known == nil {
		known = b.seen // its content may be the same, and is then held once
		if known != nil {
			outdated := *known
			outdated.generation = 0
			known = &outdated
		}
	}
	r, err := b.read(known)
	if err != nil {
		return nil, err
	}
	b.seen, b.expected = r, nil
	return r, nil
}

// read reads the whole table as it is in one generation. known is as for kernel.dump.
func (b *Backend) read(known *ruleset) (*ruleset, error) {
	var r *ruleset
	generation, err := netlink.OneGeneration(
		b.kernel,
		readAttempts,
		func(generation uint32) (err error) {
			r, err = b.kernel.dump(known, generation)
			return err
		},
	)
	if err != nil {
		return nil, err
	}
	r.generation = generation
	return r, nil
}

// unchanged is the table as it was seen, with what passes by itself read again; nil if it may have
// changed.
func (b *Backend) unchanged() (*ruleset, error) {
	if b.seen == nil || !b.seen.present {
		return nil, nil
	}
	var r *ruleset
	_, err := netlink.OneGeneration(b.kernel, readAttempts, func(generation uint32) error {
		r = nil
		now, err := b.kernel.counters()
		if err != nil {
			return err
		}
		ours := now.present && now.flags&tableOwner != 0 && now.owner == b.portID &&
			b.seen.flags&tableOwner != 0 &&
			b.seen.owner == b.portID
		if !ours && generation != b.seen.generation {
			return nil
		}
		as := *b.seen
		as.flags, as.owner, as.mark = now.flags, now.owner, now.mark
		as.counters, as.generation, as.readAt = now.counters, generation, now.readAt
		if as.sets, err = b.withExpiring(as.sets); err != nil {
			return err
		}
		r = &as
		return nil
	})
	switch {
	case errors.Is(err, netlink.ErrInterrupted):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if r != nil {
		b.seen = r
	}
	return r, nil
}

// withExpiring reads the sets again whose elements go by themselves.
func (b *Backend) withExpiring(sets map[string]*set) (map[string]*set, error) {
	var out map[string]*set
	for name, s := range sets {
		if s.kind != kindExpiring {
			continue
		}
		fresh, err := b.kernel.elements(s)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = maps.Clone(sets) // the ruleset that was returned before stays as it is
		}
		out[name] = fresh
	}
	if out == nil {
		return sets, nil
	}
	return out, nil
}
