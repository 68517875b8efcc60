package exposure

import (
	"net/netip"
	"slices"
)

// answer makes pieces from the flows that ended.
func (w *walk) answer() Answer {
	a := Answer{Question: w.q, Assumed: w.assumed}
	type key struct {
		outcome    Outcome
		target     netip.AddrPort
		within     string
		translated bool
		unusual    bool
		rewritten  Tri
		out        string
		by         Decider
		doubts     *doubt
		reply      replySum
	}
	at := map[key]int{}
	var sources [][]Ranges
	var beyond []Ranges
	ranges := 0
ended:
	for _, e := range w.ended {
		k := key{outcome: e.outcome, doubts: e.doubts, unusual: e.packet.unusual}
		if out := w.e.host.ByIndex(e.packet.outIndex); e.packet.out == outKnown && out != nil {
			k.out = out.Name
		}
		k.target = e.packet.target(w.q, e.outcome == Delivered)
		if k.target == (netip.AddrPort{}) {
			k.within = e.packet.within(addressWidth(w.q.Family))
		}
		k.translated = k.target != netip.AddrPortFrom(w.q.Destination, w.q.Port) &&
			!e.packet.narrowed(e.outcome == Delivered)
		k.rewritten = [...]Tri{No, Yes, Maybe}[e.packet.headerSource]
		credits, answers := []credit{{e.sources, e.by}}, []clientReplies{{sources: e.sources}}
		if e.outcome.Passes() {
			credits = e.covered()
			if r := w.replies(e.flow, e.outcome); r != nil {
				answers = r
			}
		}
		for _, answer := range answers {
			k.reply = answer.sum
			for _, s := range answer.assumed {
				if !slices.Contains(a.Assumed, s) {
					a.Assumed = append(a.Assumed, s)
				}
			}
			for _, c := range credits {
				part := answer.sources.Intersect(c.sources)
				if part.Empty() {
					continue
				}
				k.by = c.by
				i, ok := at[k]
				if !ok {
					if len(a.Pieces) >= maxPieces || ranges > w.e.maxRanges {
						beyond = append(beyond, e.sources)
						continue ended
					}
					i = len(a.Pieces)
					at[k] = i
					sources = append(sources, nil)
					a.Pieces = append(
						a.Pieces,
						Piece{
							Outcome:    k.outcome,
							Target:     k.target,
							Within:     k.within,
							Translated: k.translated,
							Unusual:    k.unusual,
							Rewritten:  k.rewritten,
							Out:        k.out,
							DecidedBy:  k.by,
							Unknowns:   e.doubts.list(),
							Reply:      answer.reply,
						},
					)
				}
				sources[i] = append(sources[i], part)
				ranges += part.Len()
			}
		}
	}
	w.tooMany(beyond)
	for i := range a.Pieces {
		a.Pieces[i].Sources = unionOf(sources[i])
	}
	for _, u := range w.undecided {
		for _, o := range []Outcome{Delivered, Forwarded, Dropped} {
			a.Pieces = append(a.Pieces, Piece{
				Sources:    u.sources,
				Outcome:    o,
				Translated: o != Dropped,
				DecidedBy:  u.by,
				Unknowns:   []Decider{u.by},
			})
		}
	}
	slices.SortStableFunc(a.Pieces, func(x, y Piece) int { return int(x.Outcome) - int(y.Outcome) })
	return a
}

// covered returns a flow's credits, with a last one for the sources that they don't cover.
func (f *flow) covered() []credit {
	if len(f.credits) == 0 {
		return []credit{{f.sources, noRuleDecided}}
	}
	parts := make([]Ranges, len(f.credits))
	for i, c := range f.credits {
		parts[i] = c.sources
	}
	if left := f.sources.Minus(unionOf(parts)); !left.Empty() {
		return append(slices.Clone(f.credits), credit{left, noRuleDecided})
	}
	return f.credits
}
