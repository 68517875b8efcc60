package exposure

import (
	"cmp"
	"net/netip"
	"slices"
	"sort"

	"github.com/portgrave/portgrave/firewall/address"
)

// fib answers look-ups in the host's routing rules and tables, as the kernel does: fib_lookup in
// net/ipv4, fib6_rule_lookup in net/ipv6.
//
// It is symbolic: an address may be any of a range, marks and interfaces may be unknown, and an
// answer has every route that is possible. Package connections, which needs the one route that a
// packet takes now, asks the kernel instead; the two have nothing in common.
type fib struct {
	host   *Host
	rules  map[address.Family][]RoutingRule
	tables map[tableKey][]segment
	// custom: rules exist besides the kernel's own, or local routes that don't belong to an address
	// (fib4_has_custom_rules, fib_has_custom_local_routes).
	custom bool
	// Whether any rule of the family looks at the mark, the other address, the incoming interface,
	// or at protocol or ports. A key leaves out what none looks at.
	byMark, byOther, byIn, byPort bool
	tunnels                       bool // see Host.tunnels
}

type tableKey struct {
	family address.Family
	table  uint32
}

// segment is a range of addresses with the same most specific route, or routes of equal length.
type segment struct {
	Range
	routes []*Route
}

// The tables that every host has (RT_TABLE_*, include/uapi/linux/rtnetlink.h).
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

func newFib(h *Host) *fib {
	f := &fib{
		host:    h,
		tunnels: h.tunnels(),
		rules:   map[address.Family][]RoutingRule{},
		tables:  map[tableKey][]segment{},
	}
	for _, family := range address.Families {
		var rules []RoutingRule
		for _, r := range h.Rules {
			if r.Family == family {
				rules = append(rules, r)
			}
		}
		if len(rules) == 0 {
			for i, t := range []uint32{tableLocal, tableMain, tableDefault} {
				rules = append(
					rules,
					RoutingRule{
						Family:               family,
						Priority:             uint32(i * 32766),
						Action:               RuleTable,
						Table:                t,
						SuppressPrefixLength: -1,
					},
				)
			}
		}
		slices.SortStableFunc(
			rules, func(a, b RoutingRule) int { return cmp.Compare(a.Priority, b.Priority) },
		)
		f.rules[family] = rules
		for _, r := range rules {
			f.byMark = f.byMark || r.MarkMask != 0 || r.Mark != 0
			f.byOther = f.byOther || r.Source.IsValid()
			f.byPort = f.byPort || r.Dport != Range{} || r.Sport != Range{} || r.Protocol != 0
			f.byIn = f.byIn || r.In != "" || r.L3MDev
			plain := r.Action == RuleTable && !r.Not && r.In == "" && r.Out == "" &&
				r.Mark|r.MarkMask == 0 && !r.Source.IsValid() && !r.Dest.IsValid() &&
				r.Protocol == 0 && r.Dport == Range{} && r.Sport == Range{} &&
				r.Unknown == "" &&
				(r.Table == tableLocal || r.Table == tableMain || r.Table == tableDefault)
			f.custom = f.custom || family == address.IPv4 && !plain
		}
	}
	byTable := map[tableKey][]*Route{}
	for i := range h.Routes {
		r := &h.Routes[i]
		if !r.Dest.IsValid() || !r.alive() {
			continue
		}
		family := address.IPv4
		if r.Dest.Addr().Is6() {
			family = address.IPv6
		} else if r.Type == RouteLocal && !f.automatic(r) {
			f.custom = true
		}
		f.byOther = f.byOther || r.Source.IsValid() && r.Source.Bits() > 0
		byTable[tableKey{family, r.Table}] = append(byTable[tableKey{family, r.Table}], r)
	}
	for key, routes := range byTable {
		f.tables[key] = segments(routes)
	}
	return f
}

// alive reports whether a route has a usable next hop, or needs none.
func (r *Route) alive() bool {
	return len(r.NextHops) == 0 ||
		slices.ContainsFunc(r.NextHops, func(n NextHop) bool { return !n.Dead })
}

// automatic reports whether a local route comes with an address of an interface.
func (f *fib) automatic(r *Route) bool {
	for i := range f.host.Interfaces {
		for _, a := range f.host.Interfaces[i].Addresses {
			if a.Addr() == r.Dest.Addr() && r.Dest.IsSingleIP() ||
				f.host.Interfaces[i].Loopback && a.Masked() == r.Dest {
				return true
			}
		}
	}
	return false
}

// segments cuts a table into ranges by longest prefix.
func segments(routes []*Route) []segment {
	sorted := slices.Clone(routes)
	slices.SortStableFunc(sorted, func(a, b *Route) int {
		return cmp.Or(
			Prefix(a.Dest).From.Compare(Prefix(b.Dest).From),
			cmp.Compare(a.Dest.Bits(), b.Dest.Bits()), cmp.Compare(a.Metric, b.Metric),
		)
	})
	var out []segment
	var open []segment // prefixes that contain at, the most specific last
	var at Value       // everything below is in out
	emit := func(to Value) {
		if len(open) > 0 && at.Compare(to) <= 0 {
			out = append(out, segment{Range{at, to}, open[len(open)-1].routes})
		}
	}
	ended := false // at has passed the last address
	closeTo := func(before Value, all bool) {
		for len(open) > 0 {
			top := open[len(open)-1]
			if !all && top.To.Compare(before) >= 0 {
				return
			}
			if !ended {
				emit(top.To)
			}
			if after, ok := top.To.next(); !ok {
				ended = true
			} else if !ended && after.Compare(at) > 0 {
				at = after
			}
			open = open[:len(open)-1]
		}
	}
	for i := 0; i < len(sorted); {
		r := Prefix(sorted[i].Dest)
		j := i
		for j < len(sorted) && Prefix(sorted[j].Dest) == r {
			j++
		}
		closeTo(r.From, false)
		if before, ok := r.From.prev(); ok {
			emit(before)
		}
		at = r.From
		open = append(open, segment{r, sorted[i:j:j]})
		i = j
	}
	closeTo(Value{}, true)
	return out
}

// fibKey is a look-up in the routes. It is comparable.
type fibKey struct {
	family address.Family
	// other is the other address, which some rules select by, if otherKnown.
	other      Value
	otherKnown bool
	// in is the incoming interface's name, if inKnown.
	in       string
	inKnown  bool
	mark     Bits
	protocol uint8
	// protocolUnsure: the kernel may ask without the protocol, or with the number of an IPv6
	// extension header.
	protocolUnsure bool
	port           Range // destination port; the zero Range: unknown
	from           Range // source port, likewise
	// noPorts: the kernel asks without ports, and rules that select by them don't apply.
	noPorts bool
	// turned: the kernel may take each port for the other one.
	turned bool
	// device limits the look-up to routes out of an interface, by its index; 0: it doesn't.
	device int
}

// canonical clears what no rule looks at.
func (f *fib) canonical(k fibKey) fibKey {
	if !f.byMark {
		k.mark = Bits{}
	}
	if !f.byOther {
		k.other, k.otherKnown = Value{}, false
	}
	if !f.byPort {
		k.protocol, k.protocolUnsure = 0, false
		k.port, k.from, k.noPorts, k.turned = Range{}, Range{}, false, false
	}
	if !f.byIn {
		k.in, k.inKnown = "", false
	}
	return k
}

// found is the result of a look-up.
type found struct {
	kind     RouteType // RouteUnspec: no route
	route    *Route
	doubtful bool // other results are possible
}

// lookup returns every route that an address may have.
func (f *fib) lookup(k fibKey, addr Value) []found {
	var out []found
	doubtful, closed := false, false
	rules := f.rules[k.family]
	for i := 0; i < len(rules); i++ {
		r := &rules[i]
		t := f.selects(r, k, addr)
		if t == No {
			continue
		}
		var got []found
		switch r.Action {
		case RuleNop:
		case RuleGoto:
			if r.Target <= r.Priority {
				continue // the kernel refuses to jump back
			}
			to := sort.Search(len(rules), func(j int) bool { return rules[j].Priority >= r.Target })
			if t == Yes {
				i = max(to-1, i)
				continue
			}
			// Both are possible: what the rules in between say, and what follows.
			doubtful = true
			for j := i + 1; j < to && j < len(rules); j++ {
				if rules[j].Action == RuleTable {
					got = append(got, f.inTable(&rules[j], k, addr)...)
				}
			}
		case RuleTable:
			got = f.inTable(r, k, addr)
		case RuleBlackhole:
			got = []found{{kind: RouteBlackhole}}
		case RuleUnreachable:
			got = []found{{kind: RouteUnreachable}}
		case RuleProhibit:
			got = []found{{kind: RouteProhibit}}
		default:
			got, t = []found{{kind: RouteBlackhole}}, Maybe
		}
		if len(got) == 0 {
			continue
		}
		// The kernel takes one of several routes of one length, unless the first of them may not
		// apply.
		sure := t == Yes && r.Action != RuleGoto && !got[len(got)-1].doubtful
		doubtful = doubtful || !sure || len(got) > 1
		for _, g := range got {
			g.doubtful = true
			out = append(out, g)
		}
		if sure {
			closed = true
			break
		}
	}
	return markCertain(out, doubtful, closed)
}

// markCertain marks a single result as certain, and adds "no route" where that is possible.
func markCertain(out []found, doubtful, closed bool) []found {
	switch {
	case len(out) == 0:
		return []found{{kind: RouteUnspec}}
	case !doubtful:
		out[0].doubtful = false
	case !closed:
		out = append(out, found{kind: RouteUnspec, doubtful: true})
	}
	return out
}

// inTable looks an address up in a rule's table. Without a result, the next rule applies.
func (f *fib) inTable(r *RoutingRule, k fibKey, addr Value) []found {
	table := r.Table
	if r.L3MDev {
		master := f.vrf(k.in)
		if master == nil {
			return nil
		}
		table = master.VRFTable
	}
	segs := f.tables[tableKey{k.family, table}]
	i := sort.Search(len(segs), func(i int) bool { return segs[i].To.Compare(addr) >= 0 })
	if i == len(segs) || !segs[i].Contains(addr) {
		return nil
	}
	var out []found
	for _, route := range segs[i].routes {
		if r.SuppressPrefixLength >= 0 && route.Dest.Bits() <= r.SuppressPrefixLength ||
			route.Type == RouteThrow || k.device != 0 && !route.uses(k.device) {
			continue
		}
		special := route.TOS != 0 || route.Source.IsValid() && route.Source.Bits() > 0
		out = append(out, found{route.Type, route, special})
		if !special {
			break
		}
	}
	return out
}

func (f *fib) vrf(in string) *Interface {
	i := f.host.Interface(in)
	if i == nil {
		return nil
	}
	if m := f.host.ByIndex(i.Master); m != nil && m.Kind == "vrf" {
		return m
	}
	if i.Kind == "vrf" {
		return i
	}
	return nil
}

// selects reports whether a routing rule applies (fib_rule_match in net/core/fib_rules.c,
// fib4_rule_match).
func (f *fib) selects(r *RoutingRule, k fibKey, addr Value) Tri {
	t := Yes
	if r.Dest.IsValid() && !Prefix(r.Dest).Contains(addr) {
		t = No
	}
	if r.Source.IsValid() && r.Source.Bits() > 0 {
		if !k.otherKnown {
			t = t.And(Maybe)
		} else if !Prefix(r.Source).Contains(k.other) {
			t = No
		}
	}
	if r.In != "" {
		if !k.inKnown {
			t = t.And(Maybe)
		} else if r.In != k.in {
			t = No
		}
	}
	if r.L3MDev && !k.inKnown {
		t = t.And(Maybe)
	}
	if r.Out != "" {
		t = No // only sockets ask for it
	}
	if r.Mark|r.MarkMask != 0 {
		mask := uint64(r.MarkMask)
		masked := Bits{
			k.mark.Value.And(Number(mask)), k.mark.Known.Or(Ones(32).AndNot(Number(mask))),
		}
		t = t.And(masked.In(One(Number(uint64(r.Mark)&mask)), 32))
	}
	if r.Protocol != 0 {
		t = t.And(k.hasProtocol(r.Protocol))
	}
	t = t.And(k.hasPort(r.Dport, k.port, k.from)).And(k.hasPort(r.Sport, k.from, k.port))
	if r.Not {
		t = t.Not()
	}
	if r.Unknown != "" {
		t = t.And(Maybe)
		if r.Not {
			t = Maybe
		}
	}
	return t
}

// hasProtocol reports whether a rule for a protocol applies.
func (k fibKey) hasProtocol(p uint8) Tri {
	switch {
	case !k.protocolUnsure:
		return triFromBool(p == k.protocol)
	case p == k.protocol || slices.Contains(extensionHeaders, Number(uint64(p))):
		return Maybe
	}
	return No
}

// hasPort reports whether a rule for a range of ports applies to a port, which may be taken for
// another one.
func (k fibKey) hasPort(rule, port, other Range) Tri {
	in := func(port Range) Tri {
		if port == (Range{}) {
			return Maybe
		}
		return between(port, 16).in(rule)
	}
	switch {
	case rule == Range{}:
		return Yes
	case k.noPorts:
		return No
	case k.turned && in(port) != in(other):
		return Maybe
	}
	return in(port)
}

// cuts are the ranges of addresses within which every look-up of the family has the same result.
func (f *fib) cuts(family address.Family) []Range {
	width := addressWidth(family)
	starts := []Value{{}}
	add := func(r Range) {
		starts = append(starts, r.From)
		if after, ok := r.To.next(); ok && after.Compare(Ones(width)) <= 0 {
			starts = append(starts, after)
		}
	}
	// Addresses whose type doesn't depend on the tables.
	special := []Range{One(Value{}), multicast4, One(Ones(32))}
	if family == address.IPv6 {
		special = []Range{One(Value{}), multicast6, linkLocal6}
	}
	for _, r := range special {
		add(r)
	}
	for key, segs := range f.tables {
		if key.family == family {
			for _, s := range segs {
				add(s.Range)
			}
		}
	}
	for _, r := range f.rules[family] {
		for _, p := range []netip.Prefix{r.Dest, r.Source} {
			if p.IsValid() {
				add(Prefix(p))
			}
		}
	}
	slices.SortFunc(starts, Value.Compare)
	starts = slices.Compact(starts)
	out := make([]Range, len(starts))
	for i, s := range starts {
		out[i] = Range{s, Ones(width)}
		if i+1 < len(starts) {
			out[i].To, _ = starts[i+1].prev()
		}
	}
	return out
}

// uses reports whether a route leads out of an interface (fib_info_nh_uses_dev).
func (r *Route) uses(index int) bool {
	return r != nil &&
		slices.ContainsFunc(r.NextHops, func(n NextHop) bool { return n.Index == index && !n.Dead })
}
