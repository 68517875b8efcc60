package audit

import (
	"cmp"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Which element of a set lets a source in only for a time. Several sets may hold the source, and
// other rules look up most of them. So the sets lose the elements in the order in which these
// expire, and the rules are asked each time: the element after which the source doesn't get in is
// the one that ends its access.

// ending is sources that get in only until an element expires.
type ending struct {
	sources sources
	// within are the sources of the elements that let them in. No offer may be wider.
	within sources
	until  time.Time // zero: not known
	set    string    // "" if it has no name, is Portgrave's, or isn't known
	ours   bool      // a set of Portgrave's
	rest   bool      // sources that were too many to look at
}

// expiringLookup is a look-up of a set some of whose elements expire.
type expiringLookup struct {
	set    *exposure.Set
	number int // of the set
	key    []exposure.Operand
	ours   bool
}

const (
	// maxExpiringSets bounds the sets that are told apart.
	maxExpiringSets = 64
	// maxEndingSpans bounds the elements that one answer is compared with. Fewer are named.
	maxEndingSpans = 64
	// maxEndingWork bounds the elements that all answers look at. Each answer has an equal share:
	// if they drew on one supply, it would depend on their order whose sources are named.
	maxEndingWork = 20_000_000
	// maxPartly bounds the rulesets in which some sets have lost their elements that expire.
	maxPartly = 32
)

// findExpiring finds the look-ups of sets that have elements which expire.
func (s *survey) findExpiring() {
	numbers := map[*exposure.Set]int{} // −1 for sets whose elements don't expire
	expiring := 0
	add := func(c *exposure.Chain, key []exposure.Operand, set *exposure.Set) {
		if set == nil {
			return
		}
		n, known := numbers[set]
		if !known {
			n = -1
			if set.Expires() {
				n = expiring
				expiring++
			}
			numbers[set] = n
		}
		if n < 0 {
			return
		}
		if !slices.ContainsFunc(s.expiring, func(l expiringLookup) bool {
			return l.set == set && slices.Equal(l.key, key)
		}) {
			ours := c.Owner() == "portgrave"
			s.expiring = append(s.expiring, expiringLookup{set, n, key, ours})
		}
	}
	for _, t := range s.Rules.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, st := range r.Statements {
					switch st := st.(type) {
					case exposure.Match:
						add(c, st.Key, st.In)
					case exposure.VerdictMap:
						add(c, st.Key, st.In)
					}
				}
			}
		}
	}
}

// span is the sources that an element holds for a question.
type span struct {
	expiringLookup
	sources exposure.Ranges
	until   time.Time
	first   time.Time // as until, of several elements the first
	sure    bool      // the question decides all columns but the source
}

// from is the first source of a span.
func (s span) from() exposure.Value { return s.sources.At(0).From }

// spansOf are the elements that expire and that a question's packets may hit. ok is false if they
// are too many.
func (s *survey) spansOf(
	q exposure.Question, from exposure.Ranges, translated bool,
) (out []span, ok bool) {
	work := 0
	for _, l := range s.expiring {
		if work += len(l.set.Notes); work > s.endingShare || l.number >= maxExpiringSets {
			return nil, false
		}
		if len(l.key) != l.set.Width {
			continue
		}
		for i, note := range l.set.Notes {
			if note.Expires.IsZero() || i >= l.set.Len() {
				continue
			}
			if held, sure := holds(l.key, l.set.Element(i), q, from, translated); !held.Empty() {
				out = append(out, span{l, held, note.Expires, note.Expires, sure})
			}
		}
	}
	slices.SortFunc(out, func(a, b span) int {
		return cmp.Or(a.from().Compare(b.from()), cmp.Compare(a.number, b.number),
			a.until.Compare(b.until))
	})
	return out, true
}

// holds returns the sources that an element may hold for a question, with such as no packet has;
// none if it holds none of the given ones. translated: DNAT may change the port and the address
// before the look-up.
func holds(
	key []exposure.Operand,
	box []exposure.Range,
	q exposure.Question,
	from exposure.Ranges,
	translated bool,
) (held exposure.Ranges, sure bool) {
	source, dest := exposure.FieldSource4, exposure.FieldDest4
	if q.Family == address.IPv6 {
		source, dest = exposure.FieldSource6, exposure.FieldDest6
	}
	held, sure = exposure.AllSources(q.Family), true
	for c, o := range key {
		var value exposure.Value
		switch {
		case o.Field == source:
			if pre, ok := o.Preimage(box[c]); !ok {
				sure = false
			} else if in := pre.Intersect(from); in.Empty() {
				return exposure.Ranges{}, true
			} else {
				held = held.Intersect(pre)
			}
			continue
		case o.Field == exposure.FieldSource4, o.Field == exposure.FieldSource6,
			o.Field == exposure.FieldDest4 && dest != o.Field,
			o.Field == exposure.FieldDest6 && dest != o.Field:
			return exposure.Ranges{}, true // the other family's
		case o.Field == exposure.FieldDport && !translated && q.Protocol.HasPorts():
			value = exposure.Number(uint64(q.Port))
		case o.Field == exposure.FieldProtocol && q.Protocol.HasPorts():
			value = exposure.Number(uint64(q.Protocol))
		case o.Field == dest && !translated && q.Destination.IsValid():
			value = exposure.Address(q.Destination)
		case o.Field == exposure.FieldInName:
			value = exposure.Name(q.Interface)
		default:
			sure = false
			continue
		}
		if !box[c].Contains(o.Apply(value)) {
			return exposure.Ranges{}, true
		}
	}
	return held, sure
}

// endsOf finds until when sources get in, and by which set.
func (s *survey) endsOf(
	q exposure.Question,
	from exposure.Ranges,
	translated bool,
	passes func(exposure.Piece) bool,
) (out []ending) {
	add := func(in exposure.Ranges, e ending) {
		if !in.Empty() {
			e.sources[slot(q.Family)] = in
			out = joinEndings(out, e)
		}
	}
	var head exposure.Ranges
	spans, ok := s.spansOf(q, from, translated)
	if ok {
		head, spans = firstOfSpans(from, spans, exposure.Full(q.Family.Bits()))
	}
	add(from.Minus(head), ending{rest: true})
	after := map[uint64]exposure.Ranges{} // who gets in without the elements of some sets
	for _, c := range cellsOf(head, spans) {
		alive, gone := c.sources, uint64(0)
		for _, e := range c.ends() {
			gone |= 1 << e.number
			possible, known := after[gone]
			if !known {
				if possible, known = s.without(gone, q, head, passes); !known {
					break
				}
				after[gone] = possible
			}
			ended := alive.Minus(possible)
			x := ending{until: e.until, ours: e.ours}
			if !e.ours {
				x.set = e.set.Name
			}
			x.within[slot(q.Family)] = e.sources
			add(ended, x)
			alive = alive.Minus(ended)
		}
		add(alive, ending{})
	}
	return out
}

// firstOfSpans limits sources to those below the first spans' end, so that few cells result.
func firstOfSpans(
	from exposure.Ranges, spans []span, all exposure.Range,
) (exposure.Ranges, []span) {
	if len(spans) > maxEndingSpans {
		rest := exposure.Range{From: spans[maxEndingSpans].from(), To: all.To}
		from, spans = from.Minus(exposure.NewRanges(rest)), spans[:maxEndingSpans]
	}
	return from, spans
}

// cell is sources that the same elements hold.
type cell struct {
	sources exposure.Ranges
	spans   []span
}

// cellsOf divides sources by the elements that hold them.
func cellsOf(from exposure.Ranges, spans []span) []cell {
	cells := []cell{{sources: from}}
	for _, x := range spans {
		for i, c := range cells {
			in := c.sources.Intersect(x.sources)
			if in.Empty() {
				continue
			}
			if out := c.sources.Minus(in); !out.Empty() {
				cells = append(cells, cell{out, c.spans})
			}
			cells[i] = cell{in, append(slices.Clone(c.spans), x)}
		}
	}
	return cells
}

// ends says until when each set holds the sources of a cell, the first to end first. Where several
// elements of a set may hold them, the last one counts; the first one if it isn't known which do.
func (c cell) ends() (out []span) {
	for _, x := range c.spans {
		i := slices.IndexFunc(out, func(o span) bool { return o.number == x.number })
		if i < 0 {
			out = append(out, x)
			continue
		}
		o := &out[i]
		o.sure = o.sure && x.sure && slices.Equal(o.key, x.key)
		o.sources = o.sources.Union(x.sources)
		if x.until.After(o.until) {
			o.until = x.until
		}
		if x.first.Before(o.first) {
			o.first = x.first
		}
	}
	for i := range out {
		if !out[i].sure {
			out[i].until = out[i].first
		}
	}
	slices.SortStableFunc(out, func(a, b span) int { return a.until.Compare(b.until) })
	return out
}

// without are the sources that possibly get in once some sets have lost the elements that expire.
func (s *survey) without(
	gone uint64, q exposure.Question, from exposure.Ranges, passes func(exposure.Piece) bool,
) (possible exposure.Ranges, known bool) {
	s.partlyLock.Lock()
	e := s.partly[gone]
	if e == nil && len(s.partly) < maxPartly {
		lost := map[*exposure.Set]bool{}
		for _, l := range s.expiring {
			// gone>>l.number is 0 for sets beyond maxExpiringSets
			lost[l.set] = lost[l.set] || gone>>l.number&1 != 0
		}
		rules := s.Rules.LastingIn(func(x *exposure.Set) bool { return lost[x] })
		e = s.newEvaluator(rules, s.Host)
		if s.partly == nil {
			s.partly = map[uint64]*exposure.Evaluator{}
		}
		s.partly[gone] = e
	}
	s.partlyLock.Unlock()
	if e == nil {
		return exposure.Ranges{}, false
	}
	q.Sources = from
	answer, err := e.Evaluate(q)
	if err != nil {
		return exposure.Ranges{}, false
	}
	_, possible = answer.Reach(passes)
	return possible, true
}

// joinEndings adds sources to those that get in until the same time by the same set.
func joinEndings(list []ending, more ...ending) []ending {
	out := slices.Clone(list)
	for _, e := range more {
		i := slices.IndexFunc(out, func(o ending) bool {
			return o.set == e.set && o.ours == e.ours && o.rest == e.rest && o.until.Equal(e.until)
		})
		if i < 0 {
			out = append(out, e)
			continue
		}
		out[i].sources, out[i].within = out[i].sources.union(e.sources), out[i].within.union(e.within)
	}
	return out
}
