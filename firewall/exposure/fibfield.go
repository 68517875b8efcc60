package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// fibValue is the result of a look-up for some addresses: one of several values where it isn't
// certain.
type fibValue struct {
	addrs  Ranges
	values []Value // more than one: any of them
}

// extendFib adds a look-up in the host's routes to a reading.
func (w *walk) extendFib(f *flow, r reading, o Operand) []reading {
	width := o.Width()
	p := f.packet
	if w.reply != nil { // source and destination are swapped
		o.Fib.Of = FibDest - o.Fib.Of
	}
	if o.Fib.Of == FibDest {
		return []reading{r.with(operandValue{view: w.fibOfDest(p, o, width).through(o)})}
	}
	if w.fromOutside() && p.headerSource == sourceOwn {
		return []reading{r.with(operandValue{view: w.fibFromOutside(o, width).through(o)})}
	}
	if w.e.fib == nil || p.headerSource != sourceOwn {
		return []reading{r.with(operandValue{view: anyValue(width)})}
	}
	var out []reading
	for _, v := range w.fibOfSource(p, o) {
		sources := r.sources.Intersect(v.addrs)
		if sources.Empty() {
			continue
		}
		part := r
		part.sources = sources
		out = append(out, part.with(operandValue{view: oneOf(v.values, width).through(o)}))
	}
	return out
}

// oneOf is a value known to be one of several.
func oneOf(values []Value, width int) view {
	v := exactly(values[0], width)
	for _, x := range values[1:] {
		other := exactly(x, width)
		v = view{width: width, bits: v.bits.Join(other.bits), within: hull(v.within, other.within)}
	}
	return v
}

func (w *walk) fibOfDest(p *packet, o Operand, width int) view {
	addr, known := view{within: p.now.addr}.single()
	switch {
	case p.local && !known && o.Fib.Want == FibType && !o.Fib.ByIn && !o.Fib.ByOut:
		return exactly(Number(uint64(RouteLocal)), width)
	case w.e.fib == nil && w.q.Elsewhere:
		return anyValue(width)
	case w.e.fib == nil && !p.moved && o.Fib.Want == FibType && !o.Fib.ByIn && !o.Fib.ByOut:
		// without a host, questions are about packets for the host itself
		return exactly(
			Number(uint64(RouteLocal)), width,
		)
	case w.e.fib == nil || !known:
		return anyValue(width)
	}
	return oneOf(w.fibResult(p, o.Fib, addr), width)
}

// fibOfSource looks up every source address.
func (w *walk) fibOfSource(p *packet, o Operand) []fibValue {
	type key struct {
		fib  Fib
		key  fibKey
		in   int
		out  int
		outs outgoing
	}
	k := key{o.Fib, w.e.fib.canonical(w.fibKey(p, o.Fib)), 0, p.outIndex, p.out}
	if w.in != nil {
		k.in = w.in.Index
	}
	return w.e.remember(k, func() any {
		var out []fibValue
		var addrs []rangesBuilder
		for _, r := range w.e.cuts(w.q.Family) {
			values := w.fibResult(p, o.Fib, r.From)
			i := slices.IndexFunc(out, func(v fibValue) bool { return slices.Equal(v.values, values) })
			if i < 0 {
				i = len(out)
				out, addrs = append(out, fibValue{values: values}), append(addrs, rangesBuilder{})
			}
			addrs[i].add(r)
		}
		for i := range out {
			out[i].addrs = addrs[i].ranges()
		}
		return out
	}).([]fibValue)
}

// fibKey is the key of a rule's look-up. Neither rule system passes ports, and some kernels the
// protocol: nft_fib4_eval, nft_fib6_flowi_init, rpfilter_mt in net/ipv4/netfilter/ipt_rpfilter.c,
// and rpfilter_lookup_reverse6 in net/ipv6/netfilter/ip6t_rpfilter.c.
func (w *walk) fibKey(p *packet, f Fib) fibKey {
	k := fibKey{
		family: w.q.Family, in: "lo", inKnown: true, mark: Known(Value{}, 32),
		protocol: uint8(w.q.number()), protocolUnsure: true, noPorts: true,
	}
	if f.ByMark {
		k.mark = p.mark
	}
	if f.Of == FibSource {
		k.other, k.otherKnown = view{within: p.now.addr}.single()
	}
	return k
}

// fibKeyOf is the key for one address. Link-local addresses are looked up on the packet's own link
// only (nft_fib6_flowi_init in net/ipv6/netfilter/nft_fib_ipv6.c, rpfilter_lookup_reverse6).
func (w *walk) fibKeyOf(p *packet, f Fib, addr Value, device *Interface) fibKey {
	k := w.fibKey(p, f)
	if device == nil {
		device = w.in
	}
	if device != nil && linkLocal(w.q.Family, addr) {
		k.device = device.Index
	}
	return k
}

// fibResult returns every value that a look-up of one address may have.
func (w *walk) fibResult(p *packet, f Fib, addr Value) []Value {
	var device *Interface // the device that the look-up is limited to
	deviceKnown := true
	switch {
	case f.ByIn || f.Want == FibReversePath:
		device, deviceKnown = w.in, w.in != nil
	case f.ByOut && p.out == outKnown:
		device = w.e.host.ByIndex(p.outIndex)
	case f.ByOut && p.out == outUnknown:
		deviceKnown = false
	}
	switch f.Want {
	case FibType:
		return w.fibType(p, f, addr, device, deviceKnown)
	case FibReversePath:
		return w.reversePath(p, f, addr, device)
	}
	var out []Value
	for _, g := range w.e.fib.lookup(w.fibKeyOf(p, f, addr, device), addr) {
		if g.kind != RouteUnicast || f.ByIn && device != nil && !g.route.uses(device.Index) {
			out = addValue(out, Value{})
			continue
		}
		hops := g.route.NextHops
		for _, n := range hops {
			if n.Dead || (f.ByIn || f.ByOut) && device != nil && n.Index != device.Index {
				continue
			}
			to := w.e.host.ByIndex(n.Index)
			switch {
			case f.Want == FibExists:
				out = addValue(out, Number(1))
			case f.Want == FibOutIndex:
				out = addValue(out, Number(uint64(n.Index)))
			case to != nil:
				out = addValue(out, Name(to.Name))
			}
		}
		if !deviceKnown {
			out = addValue(out, Value{})
		}
	}
	if len(out) == 0 {
		out = addValue(out, Value{})
	}
	return out
}

func addValue(list []Value, v Value) []Value {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// fibType is the type of an address. IPv4 asks the table local alone (inet_dev_addr_type in
// net/ipv4/fib_frontend.c), IPv6 all tables (__nft_fib6_eval_type in
// net/ipv6/netfilter/nft_fib_ipv6.c).
func (w *walk) fibType(p *packet, f Fib, addr Value, device *Interface, deviceKnown bool) []Value {
	types := func(t ...RouteType) (out []Value) {
		for _, x := range t {
			out = addValue(out, Number(uint64(x)))
		}
		return out
	}
	if w.q.Family == address.IPv4 {
		switch {
		case addr.IsZero() || addr == Ones(32):
			return types(RouteBroadcast)
		case multicast4.Contains(addr):
			return types(RouteMulticast)
		}
		table := uint32(tableLocal)
		if device != nil {
			if m := w.e.fib.vrf(device.Name); m != nil {
				table = m.VRFTable
			}
		}
		got := w.e.fib.inTable(
			&RoutingRule{Table: table, SuppressPrefixLength: -1},
			fibKey{family: address.IPv4},
			addr,
		)
		if len(got) == 0 || !deviceKnown {
			return types(append([]RouteType{RouteUnicast}, kinds(got)...)...)
		}
		if device != nil && !got[0].route.uses(device.Index) {
			return types(RouteUnicast)
		}
		return types(kinds(got)...)
	}
	if multicast6.Contains(addr) {
		return types(RouteMulticast)
	}
	var out []RouteType
	for _, g := range w.e.fib.lookup(w.fibKey(p, f), addr) {
		switch {
		case !deviceKnown:
			out = append(out, RouteUnicast, RouteLocal, g.kind)
		case g.kind == RouteUnspec:
			out = append(out, RouteUnreachable)
		case g.kind == RouteLocal && device != nil:
			if hasAddress(device, addr) {
				out = append(out, RouteLocal)
			} else {
				out = append(out, RouteUnicast)
			}
		default:
			out = append(out, g.kind)
		}
	}
	return types(out...)
}

func kinds(list []found) (out []RouteType) {
	for _, g := range list {
		out = append(out, g.kind)
	}
	return out
}

// hasAddress reports whether an interface has an IPv6 address.
func hasAddress(i *Interface, addr Value) bool {
	for _, a := range i.Addresses {
		if a.Addr().Is6() && Address(a.Addr()) == addr {
			return true
		}
	}
	return false
}

// reversePath is the result of xtables' rpfilter without --invert
// (net/ipv4/netfilter/ipt_rpfilter.c, net/ipv6/netfilter/ip6t_rpfilter.c).
func (w *walk) reversePath(p *packet, f Fib, addr Value, device *Interface) []Value {
	if w.in != nil && w.in.Loopback || w.q.Family == address.IPv6 && addr.IsZero() {
		return []Value{Number(1)}
	}
	var out []Value
	for _, g := range w.e.fib.lookup(w.fibKeyOf(p, f, addr, device), addr) {
		local := g.kind == RouteLocal && f.AcceptLocal
		switch {
		case g.kind != RouteUnicast && !local:
			out = addValue(out, Value{})
		case f.Loose || local && w.q.Family == address.IPv6:
			out = addValue(out, Number(1))
		case device == nil:
			out = addValue(addValue(out, Value{}), Number(1))
		case g.route.uses(device.Index):
			out = addValue(out, Number(1))
		default:
			out = addValue(out, Value{})
		}
	}
	return out
}
