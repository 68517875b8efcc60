package exposure

import (
	"net/netip"
	"slices"
)

// brute is a simple packet interpreter: one packet with one value for each field, and for each
// unknown a choice, which the test makes in every possible way. It shares only the model with the
// evaluator.
type brute struct {
	rs     *Ruleset
	host   *Host
	q      Question
	choose func(n int) int

	p       brutePacket
	hook    Hook
	prio    int32
	nat     bool
	sport   int // index in brutePorts, −1: not chosen yet
	hops    int // index in bruteHops, likewise
	ecn     int
	natDone bool
}

// brutePorts are the client's ports that the test's rules can distinguish.
var brutePorts = []uint64{0, 1023, 1024, 40000, 65535}

// bruteHops are TTLs, likewise. Only the first isn't ordinary.
var bruteHops = []uint64{1, 64, 128}

type brutePacket struct {
	source, dest, dport uint64
	origDest, origDport uint64
	mark, ctMark        uint64
	status              uint64
	untracked, moved    bool
}

type bruteEnd struct {
	outcome Outcome
	dest    uint64
	dport   uint64
	unusual bool // no ordinary packet ends so
}

func (b *brute) afterCT() bool {
	return b.hook != HookIngress && !(b.hook == HookPrerouting && b.prio < PriorityConntrack)
}

func (b *brute) run(source uint64) bruteEnd {
	dest, _ := Address(b.q.Destination).Uint64()
	b.p = brutePacket{
		source:    source,
		dest:      dest,
		dport:     uint64(b.q.Port),
		origDest:  dest,
		origDport: uint64(b.q.Port),
	}
	b.sport, b.ecn, b.hops = -1, -1, -1
	end := b.way()
	end.unusual = b.sport >= 0 && brutePorts[b.sport] < 32768 || b.hops == 0
	return end
}

func (b *brute) way() bruteEnd {
	if o := b.at(HookIngress); o != Delivered {
		return bruteEnd{outcome: o}
	}
	if o := b.at(HookPrerouting); o != Delivered {
		return bruteEnd{outcome: o}
	}
	local := true
	switch {
	case b.host != nil:
		local = b.isLocal(b.p.dest)
		if !local && !b.host.Interfaces[1].Sysctls.Forwarding4 {
			return bruteEnd{outcome: Dropped}
		}
		if b.isLocal(b.p.source) {
			return bruteEnd{outcome: Dropped}
		}
	case b.p.moved:
		local = b.choose(2) == 0
	}
	if local {
		return bruteEnd{outcome: b.at(HookInput), dest: b.p.dest, dport: b.p.dport}
	}
	o := b.at(HookForward)
	if o == Delivered {
		o = b.at(HookPostrouting)
	}
	if o == Delivered {
		o = Forwarded
	}
	return bruteEnd{outcome: o, dest: b.p.dest, dport: b.p.dport}
}

func (b *brute) isLocal(a uint64) bool {
	for _, i := range b.host.Interfaces {
		for _, p := range i.Addresses {
			if Address(p.Addr()) == Number(a) {
				return true
			}
		}
	}
	return false
}

// at runs a hook; Delivered means that the packet goes on.
func (b *brute) at(h Hook) Outcome {
	b.hook, b.natDone = h, false
	for _, c := range b.rs.Order(h, b.q.Family) {
		if h == HookIngress && !c.Base.OnDevice(b.q.Interface) {
			continue
		}
		if c.Base.Type == TypeNAT && (b.p.untracked || b.natDone) {
			continue
		}
		b.prio, b.nat = c.Base.EffectivePriority(), c.Base.Type == TypeNAT
		v := b.chain(c, 0)
		if v == VerdictContinue || v == VerdictReturn {
			v = c.Base.Policy
		}
		switch v {
		case VerdictDrop:
			return Dropped
		case VerdictReject:
			return Rejected
		}
	}
	return Delivered
}

// chain is a final verdict, or VerdictContinue at its end, VerdictReturn.
func (b *brute) chain(c *Chain, depth int) VerdictKind {
rules:
	for _, r := range c.Rules {
		for _, s := range r.Statements {
			v, holds := b.statement(c, s)
			if !holds {
				continue rules
			}
			switch v.Kind {
			case VerdictContinue:
				continue
			case VerdictJump, VerdictGoto:
				got := b.chain(c.Table.Chain(v.Chain), depth+1)
				if got != VerdictContinue && got != VerdictReturn {
					return got
				}
				if v.Kind == VerdictGoto {
					return VerdictReturn
				}
				continue rules
			}
			return v.Kind
		}
	}
	return VerdictContinue
}

func (b *brute) statement(c *Chain, s Statement) (Verdict, bool) {
	go_ := Verdict{}
	switch s := s.(type) {
	case Match:
		in, absent := b.member(s.Key, s.In)
		return go_, !absent && in >= 0 != s.Not
	case Verdict:
		return s, true
	case VerdictMap:
		i, absent := b.member(s.Key, s.In)
		if i < 0 && s.In.Default {
			i = s.In.Len()
		}
		if absent || i < 0 {
			return go_, false
		}
		return s.In.Verdicts[i], true
	case Assign:
		var v uint64
		for _, o := range s.Value {
			x, ok := b.value(o)
			if !ok {
				return go_, false
			}
			n, _ := x.Uint64()
			v ^= n
		}
		switch s.To {
		case FieldMark:
			b.p.mark = v & 0xffffffff
		case FieldCTMark:
			if b.afterCT() && !b.p.untracked {
				b.p.ctMark = v & 0xffffffff
			}
		case FieldDport:
			b.p.dport, b.p.moved = v&0xffff, true
			if !b.afterCT() {
				b.p.origDport = b.p.dport
			}
		}
		return go_, true
	case NoTrack:
		if !b.afterCT() {
			b.p.untracked = true
		}
		return go_, true
	case NAT:
		addr, port := b.p.origDest, b.p.origDport
		if s.Addr != nil {
			v, ok := b.value(*s.Addr)
			if !ok {
				return go_, false
			}
			addr, _ = v.Uint64()
		}
		if s.Port != nil {
			v, _ := b.value(*s.Port)
			port, _ = v.Uint64()
			if s.PortMax != nil {
				v, _ := b.value(*s.PortMax)
				to, _ := v.Uint64()
				port += uint64(b.choose(int(to - port + 1)))
			}
		}
		b.natDone = true
		if addr != b.p.origDest || port != b.p.origDport {
			b.p.dest, b.p.dport, b.p.moved, b.p.status = addr, port, true, b.p.status|ctDNAT
		}
		return Verdict{Kind: VerdictAccept}, true
	case Unknown:
		if !s.Effect {
			return go_, b.choose(2) == 0
		}
		if b.choose(2) == 0 { // changes of mark and destination would take too long to try
			b.p.mark = []uint64{0, 1, 2, 3}[b.choose(4)]
		}
		switch b.choose(5) {
		case 0:
			return Verdict{Kind: VerdictAccept}, true
		case 1:
			return Verdict{Kind: VerdictDrop}, true
		case 2:
			return Verdict{Kind: VerdictReturn}, true
		case 3:
			return go_, false
		}
	}
	return go_, true
}

// member is the element that a tuple is in, −1 if none.
func (b *brute) member(key []Operand, s *Set) (int, bool) {
	var tuple []Value
	for _, o := range key {
		v, ok := b.value(o)
		if !ok {
			return -1, true
		}
		tuple = append(tuple, v)
	}
	for i, box := range s.All() {
		in := true
		for c, r := range box {
			in = in && r.Contains(tuple[c])
		}
		if in {
			if s.Shrinks && b.choose(2) == 0 || s.Notes[i].Condition != "" && b.choose(2) == 0 {
				continue
			}
			return i, false
		}
	}
	if s.Grows && s.Verdicts == nil && b.choose(2) == 0 {
		return 0, false
	}
	return -1, false
}

func (b *brute) value(o Operand) (Value, bool) {
	n, present := uint64(0), true
	switch o.Field {
	case FieldNone:
	case FieldSource4:
		n = b.p.source
	case FieldDest4:
		n = b.p.dest
	case FieldDport:
		n = b.p.dport
	case FieldSport:
		if b.sport < 0 {
			b.sport = b.choose(len(brutePorts))
		}
		n = brutePorts[b.sport]
	case FieldRaw:
		if b.hops < 0 {
			b.hops = b.choose(len(bruteHops))
		}
		n = bruteHops[b.hops]
	case FieldProtocol:
		n = uint64(b.q.Protocol)
	case FieldTCPFlags:
		if b.ecn < 0 {
			b.ecn = b.choose(4)
		}
		n = 2 | uint64(b.ecn)<<6
	case FieldMark:
		n = b.p.mark
	case FieldCTMark:
		n, present = b.p.ctMark, b.afterCT() && !b.p.untracked
	case FieldCTStatus:
		n, present = b.p.status, b.afterCT() && !b.p.untracked
	case FieldCTOrigDport:
		n, present = b.p.origDport, b.afterCT() && !b.p.untracked
	case FieldCTState:
		switch {
		case b.p.untracked:
			n = 64
		case b.afterCT():
			n = 8
		default:
			n = 1
		}
	case FieldInName:
		return o.Apply(Name(b.q.Interface)), true
	case FieldUnknown:
		max, _ := o.Max.Uint64()
		n = uint64(b.choose(int(max) + 1))
	case FieldFib:
		if o.Fib.Of == FibDest {
			switch {
			case b.host != nil:
				n = 1
				if b.isLocal(b.p.dest) {
					n = 2
				}
			case !b.p.moved:
				n = 2
			default:
				n = uint64(1 + b.choose(2))
			}
		}
	case FieldMap:
		i, absent := b.member(o.Lookup.Key, o.Lookup.In)
		if absent || i < 0 {
			return Value{}, false
		}
		return o.Apply(o.Lookup.In.Row(i)[o.Lookup.Column]), true
	}
	return o.Apply(Number(n)), present
}

// ends are all outcomes of a source's packet. It is false if there are too many ways to try.
func (b *brute) ends(source uint64) ([]bruteEnd, bool) {
	var out []bruteEnd
	var picks, options []int
	for tries := 0; ; tries++ {
		if tries > 20000 {
			return nil, false
		}
		next := 0
		b.choose = func(n int) int {
			if next == len(picks) {
				picks, options = append(picks, 0), append(options, n)
			}
			next++
			return picks[next-1]
		}
		if e := b.run(source); !slices.Contains(out, e) {
			out = append(out, e)
		}
		n := len(picks) - 1
		for n >= 0 && picks[n]+1 == options[n] {
			n--
		}
		if n < 0 {
			return out, true
		}
		picks, options = picks[:n+1], options[:n+1]
		picks[n]++
	}
}

// smallHost is a host with one outside address and one network behind it.
func smallHost(forwards bool) *Host {
	local := func(a string, index int) Route {
		return Route{
			Table:    tableLocal,
			Type:     RouteLocal,
			Dest:     netip.MustParsePrefix(a),
			NextHops: []NextHop{{Index: index}},
		}
	}
	via := func(a string, index int) Route {
		return Route{
			Table:    tableMain,
			Type:     RouteUnicast,
			Dest:     netip.MustParsePrefix(a),
			NextHops: []NextHop{{Index: index}},
		}
	}
	return &Host{
		Interfaces: []Interface{
			{
				Name:      "lo",
				Index:     1,
				Loopback:  true,
				Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")},
			},
			{
				Name:     "eth0",
				Index:    2,
				Ethernet: true,
				Addresses: []netip.Prefix{
					netip.MustParsePrefix("192.0.2.10/24"),
					netip.MustParsePrefix("10.0.0.3/32"),
				},
				Sysctls: InterfaceSysctls{Forwarding4: forwards},
			},
			{
				Name:      "eth1",
				Index:     3,
				Ethernet:  true,
				Addresses: []netip.Prefix{netip.MustParsePrefix("172.17.0.1/24")},
				Sysctls:   InterfaceSysctls{Forwarding4: forwards},
			},
		},
		Routes: []Route{
			local("127.0.0.0/8", 1),
			local("127.0.0.1/32", 1),
			local("192.0.2.10/32", 2),
			local("10.0.0.3/32", 2),
			local("172.17.0.1/32", 3),
			via("192.0.2.0/24", 2),
			via("172.17.0.0/24", 3),
			via("0.0.0.0/0", 2),
		},
	}
}
