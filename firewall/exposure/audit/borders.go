package audit

import (
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// startsOf marks the ports at which rules, or the given ranges, begin to differ from the port
// before. It is nil if a rule computes with ports, so that each port may differ.
func startsOf(rs *exposure.Ruleset, told []firewall.PortRange) []bool {
	b := bordersOf(rs, told, 0, nil)
	if b.computed || b.raw {
		return nil
	}
	return b.starts
}

// bordersOf finds where the ranges of ports begin that rules distinguish, for a protocol; 0: for
// any. answers are the chains that answers may run through; nil: all. In the others the source port
// is the client's.
func bordersOf(
	rs *exposure.Ruleset,
	told []firewall.PortRange,
	p firewall.Protocol,
	answers map[*exposure.Chain]bool,
) borders {
	b := borders{starts: make([]bool, 1<<16+1)}
	for _, r := range told {
		b.starts[r.First], b.starts[int(r.Last)+1] = true, true
	}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			b.client = answers != nil && !answers[c]
			for _, r := range c.Rules {
				if p != 0 && ofAnother(r, p) {
					continue
				}
				for _, s := range r.Statements {
					b.statement(s)
				}
			}
		}
	}
	return b
}

// ofAnother reports whether a rule is about other protocols only.
func ofAnother(r *exposure.Rule, p firewall.Protocol) bool {
	for _, s := range r.Statements {
		m, is := s.(exposure.Match)
		if !is || m.Not || len(m.Key) != 1 || m.Key[0] != exposure.Of(exposure.FieldProtocol) ||
			m.In.Len() > fewAddresses || m.In.Unknown != "" || m.In.Grows || m.In.Default {
			continue
		}
		if !column(m.In, 0).Contains(exposure.Number(uint64(p))) {
			return true
		}
	}
	return false
}

type borders struct {
	// protocols marks the protocol numbers at which rules begin to differ. protocolComputed: rules
	// compute with the protocol.
	protocols        [256]bool
	protocolComputed bool
	starts           []bool
	computed         bool
	// a rule reads bytes that may be the port, which the evaluator takes as unknown
	raw bool
	// client: no answer runs through the chain at hand, so its source ports are the client's
	client bool
	// looked are long columns that an earlier rule has looked up: many rules may share one.
	looked map[columnOf]bool
}

// columnOf is a column of a set, read as a protocol or as a port.
type columnOf struct {
	set      *exposure.Set
	column   int
	protocol bool
}

// noteLooked notes that a column was looked up, if it is long.
func (b *borders) noteLooked(c columnOf) {
	if c.set.Len() <= fewAddresses {
		return
	}
	if b.looked == nil {
		b.looked = map[columnOf]bool{}
	}
	b.looked[c] = true
}

// ofPort reports whether a field may be the port that is asked about; in an answer, the source port
// is.
func (b *borders) ofPort(f exposure.Field) bool {
	switch f {
	case exposure.FieldSport:
		return !b.client
	case exposure.FieldDport, exposure.FieldCTOrigDport, exposure.FieldCTReplySport:
		return true
	}
	return false
}

// chainsOfAnswers returns the chains that answers of the host itself may run through.
func chainsOfAnswers(rs *exposure.Ruleset) map[*exposure.Chain]bool {
	found := map[*exposure.Chain]bool{}
	seen := map[*exposure.Set]bool{}
	var visit func(c *exposure.Chain)
	visit = func(c *exposure.Chain) {
		if c == nil || found[c] {
			return
		}
		found[c] = true
		for _, r := range c.Rules {
			for _, s := range r.Statements {
				switch s := s.(type) {
				case exposure.Verdict:
					visit(c.Table.Chain(s.Chain))
				case exposure.VerdictMap:
					if seen[s.In] {
						continue
					}
					seen[s.In] = true
					for _, v := range s.In.Verdicts {
						visit(c.Table.Chain(v.Chain))
					}
				}
			}
		}
	}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.Base == nil {
				continue
			}
			switch c.Base.Hook {
			case exposure.HookPrerouting, exposure.HookInput, exposure.HookIngress,
				exposure.HookForward:
			default:
				visit(c)
			}
		}
	}
	return found
}

func (b *borders) statement(s exposure.Statement) {
	switch s := s.(type) {
	case exposure.Match:
		b.lookup(s.Key, s.In)
	case exposure.VerdictMap:
		b.lookup(s.Key, s.In)
	case exposure.Assign:
		for _, o := range s.Value {
			b.operand(o)
		}
	case exposure.NAT:
		b.computed = b.computed || s.PortBase != nil
		for _, o := range []*exposure.Operand{s.Addr, s.AddrMax, s.Port, s.PortMax} {
			if o != nil {
				b.operand(*o)
			}
		}
	case exposure.TProxy:
		for _, o := range []*exposure.Operand{s.Addr, s.Port} {
			if o != nil {
				b.operand(*o)
			}
		}
	}
}

// lookup records where the ranges of ports in a set begin and end.
func (b *borders) lookup(key []exposure.Operand, in *exposure.Set) {
	for i, o := range key {
		plain := o.Shift == 0 && o.Clear == (exposure.Value{}) && o.Xor == (exposure.Value{})
		if ofProtocol(o) {
			b.protocolComputed = b.protocolComputed || !plain || in.Grows || in.Unknown != "" ||
				o.Field == exposure.FieldRaw && o.Raw.Bits != 8
			c := columnOf{in, i, true}
			if b.looked[c] {
				continue
			}
			b.noteLooked(c)
			for _, box := range in.All() {
				if i < len(box) {
					b.protocol(box[i])
				}
			}
			continue
		}
		if !b.ofPort(o.Field) || !plain {
			b.operand(o)
			continue
		}
		c := columnOf{in, i, false}
		if b.looked[c] {
			continue
		}
		b.noteLooked(c)
		for _, box := range in.All() {
			if i >= len(box) {
				continue
			}
			from, ok := box[i].From.Uint64()
			if ok && from < 1<<16 {
				b.starts[from] = true
			}
			if to, ok := box[i].To.Uint64(); ok && to < 1<<16 {
				b.starts[to+1] = true
			}
		}
	}
}

// operand records a value that is, or may be, computed from a port. A map looked up by a port adds
// borders like any set.
func (b *borders) operand(o exposure.Operand) {
	if o.Lookup != nil {
		b.lookup(o.Lookup.Key, o.Lookup.In)
		return
	}
	b.computed = b.computed || b.ofPort(o.Field)
	b.protocolComputed = b.protocolComputed || ofProtocol(o)
	b.raw = b.raw || o.Field == exposure.FieldRaw && mayReadPort(o.Raw)
}

// mayReadPort reports whether bytes that a rule reads by their offset may be the port: bits 16 to
// 31 of the transport header, which follows at least 20 bytes of IP (RFC 791) and 14 of Ethernet.
func mayReadPort(r exposure.Raw) bool {
	end := r.Offset + r.Bits
	switch r.Base {
	case exposure.RawTransport:
		return r.Offset < 32 && end > 16
	case exposure.RawNetwork:
		return end > 8*20
	case exposure.RawLink:
		return end > 8*(14+20)
	case exposure.RawExtension, exposure.RawIPOption, exposure.RawTCPOption:
		return false
	}
	return true
}

// ofProtocol reports whether an operand may be the protocol, including by its offset: byte 9 of an
// IPv4 header or byte 6 of an IPv6 header.
func ofProtocol(o exposure.Operand) bool {
	switch o.Field {
	case exposure.FieldProtocol, exposure.FieldCTProtocol:
		return true
	case exposure.FieldRaw:
		end := o.Raw.Offset + o.Raw.Bits
		return o.Raw.Base == exposure.RawNetwork &&
			(o.Raw.Offset < 8*10 && end > 8*9 || o.Raw.Offset < 8*7 && end > 8*6)
	}
	return false
}

func (b *borders) protocol(r exposure.Range) {
	if from, ok := r.From.Uint64(); ok && from < 256 {
		b.protocols[from] = true
	}
	if to, ok := r.To.Uint64(); ok && to < 255 {
		b.protocols[to+1] = true
	}
}
