package audit

import (
	"errors"
	"fmt"
	"net/netip"

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
		parts, err := apart(in, q, of)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			for prefix := range part.All() {
				q.From = prefix.Addr()
				break
			}
			x, err := Explain(in, q)
			if err != nil {
				return nil, err
			}
			if of.Len() > 1 || part.Len() < of.Len() {
				x.Assumed = append(x.Assumed, fmt.Sprintf("all these sources come by %s", q.Interface))
			}
			blocks = joinBlock(blocks, Block{part, x})
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

// apart splits sources of one family into those for which the same ways are open.
func apart(in Input, p Packet, of address.Set) (parts []address.Set, err error) {
	f := familyOf(p.From)
	e := exposure.NewEvaluator(in.Rules, in.hostWithSockets())
	all := exposure.SourcesOf(of, f)
	answer, err := e.Evaluate(exposure.Question{
		Family: f, Protocol: p.Protocol, Interface: p.Interface,
		Destination: p.Destination, Port: p.Port, Sources: all,
	})
	if err != nil {
		return nil, err
	}
	if needsAnswer(p.Protocol) {
		e.LoseLater(&answer, nil)
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
		parts = append(parts, s.Prefixes(f))
	}
	return parts, nil
}

// joinBlock adds a block, to one of the same IP version with the same outcome if there is one.
func joinBlock(blocks []Block, b Block) []Block {
	for i := range blocks {
		x := &blocks[i]
		if x.From.Is4() == b.From.Is4() && x.Reason == b.Reason && x.DecidedBy == b.DecidedBy {
			x.Sources = x.Sources.Union(b.Sources)
			return blocks
		}
	}
	return append(blocks, b)
}
