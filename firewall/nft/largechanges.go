package nft

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// Plans hide the objects that implement a large list: a plan shows its sources, one change
// a prefix, and not the sets, chains and rules that hold them. Unless those are not what the
// sources in the kernel make them: then somebody else has been there, and everything is shown.
// Sources that stand in rules (sourcerules.go) are shown the same way.

// partsView is how a difference is shown as far as it concerns parts.
type partsView struct {
	hidden  map[string]bool // names of chains and sets
	crossed map[part]bool   // whose sources stand in rules on one side only: those rules are hidden
	tallies map[part]*[2]tally
	order   []part
}

// Indexes of tallies.
const (
	gone = 0
	come = 1
)

func (l *partsView) hides(name string) bool { return l.hidden[name] }

// lookAtParts sorts out what a difference comes to for each large part.
func (d difference) lookAtParts(want, have *ruleset) *partsView {
	l := &partsView{
		hidden:  map[string]bool{},
		crossed: map[part]bool{},
		tallies: map[part]*[2]tally{},
	}
	if d.rebuild {
		have = newRuleset()
	}
	touched := map[part]bool{}
	touch := func(is identity) {
		if p, ok := is.part(); ok {
			touched[p] = true
		}
	}
	for _, list := range [][]*chain{d.chainsGone, d.chainsNew} {
		for _, c := range list {
			touch(c.is)
		}
	}
	for _, c := range d.rulesChanged {
		touch(c.want.is)
		if c.want.is.role != roleService || len(c.have) == 0 {
			continue
		}
		for _, f := range address.Families {
			if p := (part{c.want.service, f}); leavesRules(p, want, have) {
				l.crossed[p], touched[p] = true, true
			}
		}
	}
	for _, list := range [][]*set{d.setsGone, d.setsNew, d.setsReshaped} {
		for _, s := range list {
			touch(s.is)
		}
	}
	for _, c := range d.content {
		touch(c.want.is)
	}
	hadLarge := have.largeParts()
	for p := range touched {
		l.order = append(l.order, p)
		l.tallies[p] = &[2]tally{}
		now, large := want.large[p]
		was := hadLarge[p]
		switch {
		case l.crossed[p], large && !was && have.holdsSmall(p), was && !large && want.holdsSmall(p):
			l.cross(p, want, have)
			delete(touched, p)
		case large:
			l.hideMade(now, p, have, was)
		default:
			l.hideAll(p, have)
		}
	}
	slices.SortFunc(l.order, func(a, b part) int {
		return cmp.Compare(a.service+a.family.String(), b.service+b.family.String())
	})
	places := map[part][2]placement{}
	for p := range touched {
		places[p] = [2]placement{gone: have.placementOf(p), come: want.placementOf(p)}
	}
	count := func(s *set, which int, k address.List) {
		if p, ok := s.is.part(); ok && s.is.isLengthSet && touched[p] && k.Len() > 0 {
			length := int(s.is.length)
			l.tallies[p][which].keys(places[p][which].own(s.name, p, k, length), length)
		}
	}
	for _, s := range d.setsGone {
		count(s, gone, s.keys)
	}
	for _, s := range d.setsNew {
		count(s, come, s.keys)
	}
	for _, s := range d.setsReshaped {
		if h := have.sets[s.name]; h != nil && h.kind == s.kind {
			add, remove := address.DiffLists(s.keys, h.keys)
			count(s, come, add)
			count(s, gone, remove)
		}
	}
	for _, c := range d.content {
		count(c.want, come, c.keysAdd)
		count(c.want, gone, c.keysGone)
	}
	return l
}

// hideMade hides what a part's sources in the kernel make there and what the wanted ones make, if
// the kernel holds nothing but the former.
func (l *partsView) hideMade(now largePart, p part, have *ruleset, wasLarge bool) {
	made := newRuleset()
	if wasLarge {
		there, ok := p.read(have, now.at)
		if !ok {
			return
		}
		c := compiler{ruleset: made, use: layout{have: have}}
		c.place(now.service, p.family, now.at, there)
		for name, w := range made.chains {
			h := have.chains[name]
			if h == nil || !slices.EqualFunc(w.rules, h.rules, rule.Equal) {
				return
			}
		}
		for name, w := range made.sets {
			h := have.sets[name]
			if h == nil || w.spec != h.spec || !maps.Equal(w.verdicts, h.verdicts) {
				return
			}
		}
	}
	c := compiler{ruleset: made, use: layout{have: have}}
	c.place(now.service, p.family, now.at, now.pieces)
	for name := range made.chains {
		l.hidden[name] = true
	}
	for name := range made.sets {
		l.hidden[name] = true
	}
}

// hideAll hides what is left of a part that is wanted no more.
func (l *partsView) hideAll(p part, r *ruleset) {
	for name, c := range r.chains {
		l.hidden[name] = l.hidden[name] || c.is.of(p)
	}
	for name, s := range r.sets {
		l.hidden[name] = l.hidden[name] || s.is.of(p)
	}
}

// cross shows a part that is held in another shape from now on by its sources alone.
func (l *partsView) cross(p part, want, have *ruleset) {
	for _, r := range []*ruleset{want, have} {
		if len(r.placements(p)) > 0 {
			l.hideAll(p, r)
		}
	}
	for _, name := range p.smallSets() {
		l.hidden[name] = true
	}
	now, was := want.sourcesOf(p), have.sourcesOf(p)
	for x := range was.Minus(now).All() {
		l.tallies[p][gone].prefix(x)
	}
	for x := range now.Minus(was).All() {
		l.tallies[p][come].prefix(x)
	}
}

// smallSets are the names that sets of a part's lasting sources may have.
func (p part) smallSets() []string {
	var out []string
	for _, second := range []bool{false, true} {
		for _, k := range []setKind{kindHosts, kindNets} {
			out = append(out, sourceSetName(p.service, k, p.family, second))
		}
	}
	return out
}

func (r *ruleset) holdsSmall(p part) bool {
	return slices.ContainsFunc(p.smallSets(), func(name string) bool { return r.sets[name] != nil })
}

// largeParts are those that have sets by prefix length.
func (r *ruleset) largeParts() map[part]bool {
	out := map[part]bool{}
	for _, s := range r.sets {
		if p, ok := s.is.part(); ok && s.kind == kindPrefix {
			out[p] = true
		}
	}
	return out
}

// sourcesOf is the lasting sources that the sets of a part hold, whatever their shape.
func (r *ruleset) sourcesOf(p part) address.Set {
	if l, ok := r.large[p]; ok {
		return l.sources(p.family)
	}
	var b address.Builder
	for _, name := range p.smallSets() {
		if s := r.sets[name]; s != nil {
			for _, x := range s.spans {
				_ = b.AddRange(x.first, x.last)
			}
		}
	}
	for _, x := range r.ruleSources(p) {
		_ = b.Add(x)
	}
	if len(r.placements(p)) == 0 { // walking all sets is for those that need it
		return b.Set()
	}
	for _, s := range r.sets {
		if !s.is.of(p) || !s.is.isLengthSet {
			continue
		}
		for i := range s.keys.Len() {
			_ = b.Add(netip.PrefixFrom(s.keys.At(i), int(s.is.length)))
		}
	}
	return b.Set()
}

func (l largePart) sources(f address.Family) address.Set {
	return l.pieces.sources.Of(f)
}

// own is the keys of a shard's set without the one that begins in a shard before it, and counts
// there.
func (at placement) own(set string, p part, k address.List, length int) address.List {
	for i, bound := range at.bounds {
		if !bound.IsValid() || set != lengthSet(p.shardChain(at, i+1), length) {
			continue
		}
		if k.At(0).Less(bound) {
			return k.From(1)
		}
	}
	return k
}

// changes words the sources that came and went.
func (l *partsView) changes() []firewall.Change {
	var out []firewall.Change
	for _, p := range l.order {
		out = append(out, l.tallies[p][gone].changes(firewall.Remove, p)...)
		out = append(out, l.tallies[p][come].changes(firewall.Add, p)...)
	}
	return out
}

// tally counts prefixes and keeps those that will be shown: all of a few, the first and the last of
// many.
type tally struct {
	n           int
	few         []netip.Prefix
	first, last netip.Prefix
}

// maxTallied is the most prefixes that a tally keeps: more than are ever shown one by one.
const maxTallied = 1024

func (t *tally) prefix(x netip.Prefix) {
	if t.n == 0 || x.Compare(t.first) < 0 {
		t.first = x
	}
	if t.n == 0 || x.Compare(t.last) > 0 {
		t.last = x
	}
	if t.n++; t.n <= maxTallied {
		t.few = append(t.few, x)
	}
}

func (t *tally) keys(k address.List, length int) {
	n := k.Len()
	for i := range n {
		if t.n >= maxTallied && i > 0 && i < n-1 {
			t.n += n - 1 - i // no need to look at the rest
			t.prefix(netip.PrefixFrom(k.At(n-1), length))
			return
		}
		t.prefix(netip.PrefixFrom(k.At(i), length))
	}
}

func (t *tally) changes(a firewall.Action, p part) []firewall.Change {
	slices.SortFunc(t.few, netip.Prefix.Compare)
	return pipeline.Elements(a, p.service, p.family, t.n, func(i int) string {
		switch {
		case t.n <= maxTallied:
			return t.few[i].String()
		case i == 0:
			return t.first.String()
		}
		return t.last.String()
	})
}
