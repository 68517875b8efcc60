package audit

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Block is sources whose packets have one fate, with the path of the first of them.
type Block struct {
	Sources address.Set `json:"sources"`
	Explanation
}

// maxBlocks is the most parts of some sources that are explained.
const maxBlocks = 32

// ErrManyBlocks: the rules tell the sources apart too often for an explanation.
var ErrManyBlocks = errors.New("the rules tell these sources apart in too many ways")

// LocateError is a packet that Locate can't complete.
type LocateError struct{ error }

// Unwrap is the error of Locate.
func (e LocateError) Unwrap() error { return e.error }

// Dialling splits sources into those that can send packets to an address, and those of the other IP
// version. The zero Addr is any address.
func Dialling(to netip.Addr, sources address.Set) (can, cannot address.Set) {
	if !to.IsValid() {
		return sources, address.Set{}
	}
	can = sources.Of(familyOf(to.Unmap()))
	return can, sources.Minus(can)
}

// ExplainSources follows packets from some sources, which are otherwise alike, and joins those that
// fare alike. Locate completes the packet for the first source of each IP version; the others come
// by the same interface. Sources of an IP version for which it can't are one undecided block; a
// LocateError if it is so for all of them.
func ExplainSources(in Input, p Packet, sources address.Set) (blocks []Block, err error) {
	in.Host = in.hostWithSockets()
	e := exposure.NewEvaluator(in.Rules, in.Host)
	var passed error
	located := false
	for _, f := range address.Families {
		of := sources.Of(f)
		if of.Len() == 0 {
			continue
		}
		q := p
		for prefix := range of.All() {
			q.From = prefix.Addr()
			break
		}
		q, err := Locate(in.Host, q)
		if err != nil {
			passed = errors.Join(passed, err)
			blocks = append(blocks, Block{of, unlocated(q, err)})
			continue
		}
		located = true
		parts, err := apart(e, q, of)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			for prefix := range part.sources.All() {
				q.From = prefix.Addr()
				break
			}
			x, err := explainBy(e, in, q)
			if err != nil {
				return nil, err
			}
			if len(part.unknowns) > 0 {
				x.leaveOpen(e, q, part.unknowns)
			}
			if of.Len() > 1 || part.sources.Len() < of.Len() {
				x.Assumed = append(x.Assumed, fmt.Sprintf("all these sources come by %s", q.Interface))
			}
			blocks = joinBlock(blocks, Block{part.sources, x})
		}
	}
	if !located && passed != nil {
		return nil, LocateError{passed}
	}
	return blocks, nil
}

// unlocated is what is known of a packet that Locate couldn't complete.
func unlocated(p Packet, why error) Explanation {
	x := Explanation{
		From: p.From, Port: p.Port, Protocol: p.Protocol.String(), Interface: p.Interface,
		Reason: Unclear, Summary: why.Error(),
	}
	x.Verdict = "unknown"
	return x
}

// alike are sources for which the same ways are open. unknowns are what it depends on whether they
// connect; none: it is known.
type alike struct {
	sources  address.Set
	unknowns []exposure.Decision
}

// apart splits sources of one family into those for which the same ways are open.
func apart(e *exposure.Evaluator, p Packet, of address.Set) (parts []alike, err error) {
	f := familyOf(p.From)
	all := exposure.SourcesOf(of, f)
	answer, open, err := openFor(e, p, all)
	if err != nil {
		return nil, err
	}
	split := []exposure.Ranges{all}
	for _, piece := range answer.Pieces {
		var next []exposure.Ranges
		for _, s := range split {
			for _, r := range []exposure.Ranges{s.Intersect(piece.Sources), s.Minus(piece.Sources)} {
				if !r.Empty() {
					next = append(next, r)
				}
			}
		}
		if split = next; len(split) > maxBlocks {
			return nil, ErrManyBlocks
		}
	}
	for _, s := range split {
		part := alike{sources: s.Prefixes(f)}
		if !s.Intersect(open).Empty() {
			part.unknowns = openUnknowns(answer, s)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// openFor answers for some sources, and returns those that may connect or not.
func openFor(
	e *exposure.Evaluator, p Packet, of exposure.Ranges,
) (answer exposure.Answer, open exposure.Ranges, err error) {
	if answer, err = e.Evaluate(p.question(of)); err != nil {
		return answer, open, err
	}
	answer = answer.WithinRates()
	if needsAnswer(p.Protocol) {
		e.LoseLater(&answer, nil)
	}
	certain, possible := answer.Connects(func(p exposure.Piece) bool { return p.Outcome.Passes() })
	return answer, possible.Minus(certain), nil
}

// openUnknowns lists what an answer about some sources depends on.
func openUnknowns(answer exposure.Answer, of exposure.Ranges) (out []exposure.Decision) {
	for _, p := range answer.Pieces {
		if p.Sources.Intersect(of).Empty() {
			continue
		}
		unknowns := p.Unknowns
		if p.Reply != nil {
			unknowns = slices.Concat(unknowns, p.Reply.Unknowns)
		}
		for _, u := range unknowns {
			if d := u.Describe(); !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	return out
}

// leaveOpen makes what is known of one address unclear for all the sources that it stands for: a
// rule may tell them apart in a way that ranges of addresses don't show, such as by some bits.
func (x *Explanation) leaveOpen(e *exposure.Evaluator, p Packet, unknowns []exposure.Decision) {
	one := exposure.NewRanges(exposure.One(exposure.Address(p.From)))
	if _, open, err := openFor(e, p, one); err != nil || !open.Empty() {
		return // it isn't known of the address either, and x says so
	}
	x.Verdict, x.Unknowns, x.DecidedBy = "unknown", unknowns, unknowns[0]
	x.Reason, x.Connects, x.Service, x.Policy = Unclear, false, "", ""
	x.judgeAll()
	x.Summary = fmt.Sprintf("which of these sources get to %s depends on rules that can't be "+
		"decided for all of them at once: %s; the path is that of %s",
		firewall.PortRange{Protocol: p.Protocol, First: p.Port, Last: p.Port},
		someOf(wordsOf(unknowns)), p.From)
}

// joinBlock adds a block, to one of the same IP version with the same outcome if there is one.
func joinBlock(blocks []Block, b Block) []Block {
	for i := range blocks {
		if x := &blocks[i]; x.sameFate(b.Explanation) {
			x.Sources = x.Sources.Union(b.Sources)
			return blocks
		}
	}
	return append(blocks, b)
}

// sameFate reports whether packets of one IP version end up in the same way at the same targets.
func (x *Explanation) sameFate(o Explanation) bool {
	sameTarget := func(a, b exposure.Target) bool {
		return a.Address == b.Address && a.Verdict == b.Verdict && a.Reason == b.Reason &&
			a.DecidedBy == b.DecidedBy
	}
	lostTo := func(x *Explanation) string {
		if x.Replies == nil {
			return ""
		}
		return x.Replies.LostTo
	}
	return x.From.Is4() == o.From.Is4() && x.Reason == o.Reason && x.DecidedBy == o.DecidedBy &&
		x.Target == o.Target && slices.EqualFunc(x.Targets, o.Targets, sameTarget) &&
		lostTo(x) == lostTo(&o) && slices.Equal(x.Unknowns, o.Unknowns)
}
