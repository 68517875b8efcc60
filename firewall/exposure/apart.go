package exposure

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/portgrave/portgrave/firewall"
)

// Which destinations the rules tell apart, so that a question about one address answers for all
// that are treated alike.

// Place is where rules name a destination. Places are bits.
type Place uint8

const (
	PlaceBefore      Place = 1 << iota // before routing, when the packet may be for another machine
	PlaceTranslation                   // in chains of NAT before routing
	PlaceInput                         // at hook input, when it is for this host, and at output
	PlaceForward                       // at forward, when it is for another machine
	PlaceOut                           // on the way out, which says nothing about whose the address is
)

// Class is destinations that no rule tells apart.
type Class struct {
	Addresses Ranges
	// Named are the places of the rules that name these destinations; 0 if none does.
	Named Place
}

// apart finds classes. It is made once for a ruleset: by family, the rules that read a destination,
// those by port that name few ports.
type apart struct {
	everywhere [2][]namedIn
	byPort     [2]map[uint16][]namedIn
	ports      portChanges
	spent      atomic.Int64 // on all questions so far, in steps of some tens of nanoseconds
}

// namedIn is a rule that reads the destination, or of an answer the source, which is what the client
// dialled.
type namedIn struct {
	rule    *Rule
	at      Place
	answers bool
	// anyPort: rules before it may have changed the port that was dialled.
	anyPort bool
}

const (
	// maxClasses bounds the classes of one question, and maxNames the groups of addresses that they
	// are made of.
	maxClasses = 256
	maxNames   = 4096
	// maxApartWork bounds the work of all questions about one ruleset: some seconds.
	maxApartWork = 200_000_000
)

// Classes are the destinations that rules tell apart for some ports of a protocol, in the order of
// their first addresses: no rule that such a packet can meet treats two addresses of a class in
// different ways. The ports must be such that no rule tells them apart. complete is false if there
// are more classes than can be listed, or if a rule computes with the address in a way that can't be
// followed: then a class may hold addresses that rules tell apart.
func (e *Evaluator) Classes(
	f firewall.Family,
	p firewall.Protocol,
	first, last uint16,
) (classes []Class, complete bool) {
	known := e.apart()
	n := names{
		family:   f,
		protocol: Number(Question{Family: f, Protocol: p}.number()),
		ports:    Numbers(uint64(first), uint64(last)),
		complete: true,
	}
	for _, list := range [][]namedIn{
		known.everywhere[familySlot(f)], known.byPort[familySlot(f)][first],
	} {
		for _, r := range list {
			if known.spent.Load()+int64(n.work) > maxApartWork {
				return []Class{{Addresses: AllSources(f)}}, false
			}
			n.rule(r)
		}
	}
	classes = n.classes()
	known.spent.Add(int64(n.work))
	if len(classes) > maxClasses {
		return classes[:maxClasses], false
	}
	return classes, n.complete
}

func (e *Evaluator) apart() *apart {
	type key struct{}
	return e.remember(key{}, func() any { return newApart(e.rules) }).(*apart)
}

func familySlot(f firewall.Family) int {
	if f == firewall.IPv6 {
		return 1
	}
	return 0
}

// newApart finds the rules that read a destination, and from where they are reached.
func newApart(rs *Ruleset) *apart {
	out := &apart{byPort: [2]map[uint16][]namedIn{{}, {}}, ports: changesPorts(rs)}
	for _, t := range rs.Tables {
		if t.Dormant {
			continue
		}
		out.table(t, placeOfPacket, false)
		out.table(t, placeOfAnswer, true)
	}
	return out
}

// table adds a table's rules, those at some places.
func (a *apart) table(t *Table, place func(*Base) Place, answers bool) {
	at := places(t, place)
	moved := places(t, func(b *Base) Place {
		if a.ports.before(b) {
			return place(b)
		}
		return 0
	})
	translated := places(t, func(b *Base) Place {
		if a.ports.translates && !b.beforeNAT() {
			return place(b)
		}
		return 0
	})
	for _, c := range t.Chains {
		if at[c] == 0 {
			continue
		}
		for _, r := range c.Rules {
			for n, f := range firewall.Families {
				if (t.Family.Sees(f) || t.Family == FamilyNetdev) && readsDialled(r, f, answers) {
					a.add(n, namedIn{r, at[c], answers, moved[c] != 0 || translated[c] != 0 && readsConnectionAddress(r)})
				}
			}
		}
	}
}

// add files a rule under the ports that it names, if these are few.
func (a *apart) add(family int, r namedIn) {
	for _, s := range r.rule.Statements {
		if hasEffect(s) {
			break
		}
		m, ok := s.(Match)
		if !ok || m.Not || r.anyPort || len(m.Key) != 1 || m.Key[0].Field != portField(r.answers) || !m.Key[0].asIs() ||
			m.In == nil || m.In.Width != 1 || m.In.Unknown != "" || m.In.Grows || m.In.Default {
			continue
		}
		if ports, few := fewPorts(NewRanges(m.In.Keys...)); few {
			for _, p := range ports {
				a.byPort[family][p] = append(a.byPort[family][p], r)
			}
			return
		}
	}
	a.everywhere[family] = append(a.everywhere[family], r)
}

// portChanges are the ways in which rules may change the port that was dialled.
type portChanges struct {
	rewrites   bool // rules write to packets
	portOnly   bool // rules of NAT that leave the address
	translates bool // rules of NAT, or for transparent proxies
}

// before reports whether a base chain may see the address that was dialled with another port. Where
// NAT sets the address too, a packet that has the address has its port, but for packets to this host.
func (p portChanges) before(b *Base) bool {
	switch {
	case b.beforeNAT():
		return p.rewrites
	case b.Hook == HookInput || b.Hook == HookOutput:
		return p.rewrites || p.translates
	}
	return p.rewrites || p.portOnly
}

// beforeNAT reports whether a base chain sees no packet that NAT has sent elsewhere: before its own
// hook, and in it, since a packet that is translated meets no more of its rules.
func (b *Base) beforeNAT() bool {
	return b.Hook == HookIngress || b.Hook == HookPrerouting &&
		(b.Type == TypeNAT || b.EffectivePriority() < PriorityNATDestination)
}

// readsConnectionAddress reports whether a rule reads an address of the connection.
func readsConnectionAddress(r *Rule) (reads bool) {
	for _, s := range r.Statements {
		lookedUp(s, func(key []Operand, _ *Set) { reads = reads || readsConnection(key, 0) })
	}
	return reads
}

func changesPorts(rs *Ruleset) (out portChanges) {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					switch s := s.(type) {
					case NAT:
						port := s.Port != nil && s.Kind != NATSource
						out.translates = out.translates || port
						out.portOnly = out.portOnly || port && s.Addr == nil && s.Kind == NATDestination
					case TProxy:
						out.translates = true
					case Assign:
						out.rewrites = out.rewrites || s.To == FieldDport || s.To == FieldRaw
					}
				}
			}
		}
	}
	return out
}

// portField is where a packet has the port that was dialled.
func portField(answers bool) Field {
	if answers {
		return FieldSport
	}
	return FieldDport
}

// placeOfPacket is where a base chain sees first packets; 0: it sees none.
func placeOfPacket(b *Base) Place {
	switch b.Hook {
	case HookIngress, HookPrerouting:
		if b.Type == TypeNAT {
			return PlaceTranslation
		}
		return PlaceBefore
	case HookInput:
		return PlaceInput
	case HookForward:
		return PlaceForward
	case HookPostrouting, HookEgress:
		return PlaceOut
	}
	return 0
}

// placeOfAnswer is where a base chain sees answers with the address that was dialled: in output, and
// on their way out. Chains of NAT see no answers.
func placeOfAnswer(b *Base) Place {
	switch {
	case b.Type == TypeNAT:
		return 0
	case b.Hook == HookOutput:
		return PlaceInput
	case b.Hook == HookPostrouting || b.Hook == HookEgress:
		return PlaceOut
	}
	return 0
}

// places tells of a table's chains from which places they are reached.
func places(t *Table, of func(*Base) Place) map[*Chain]Place {
	at := map[*Chain]Place{}
	var todo []*Chain
	reach := func(c *Chain, p Place) {
		if c != nil && at[c]|p != at[c] {
			at[c] |= p
			todo = append(todo, c)
		}
	}
	for _, c := range t.Chains {
		if c.Base != nil {
			reach(c, of(c.Base))
		}
	}
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, r := range c.Rules {
			for _, s := range r.Statements {
				switch s := s.(type) {
				case Verdict:
					reach(t.Chain(s.Chain), at[c])
				case VerdictMap:
					for _, v := range s.In.Verdicts {
						reach(t.Chain(v.Chain), at[c])
					}
				}
			}
		}
	}
	return at
}

// lookedUp calls a function for every set that a statement looks up.
func lookedUp(s Statement, call func(key []Operand, in *Set)) {
	lookup := func(key []Operand, in *Set) { nestedLookups(key, in, 0, call) }
	switch s := s.(type) {
	case Match:
		lookup(s.Key, s.In)
	case VerdictMap:
		lookup(s.Key, s.In)
	}
	for _, o := range computed(s) {
		if o.Lookup != nil {
			lookup(o.Lookup.Key, o.Lookup.In)
		}
	}
}

// nestedLookups calls a function for a look-up and those that its key is made of.
func nestedLookups(key []Operand, in *Set, depth int, call func(key []Operand, in *Set)) {
	if in == nil || depth == maxNested {
		return
	}
	call(key, in)
	for _, o := range key {
		if o.Lookup != nil {
			nestedLookups(o.Lookup.Key, o.Lookup.In, depth+1, call)
		}
	}
}

// computed are the operands that make a value of a statement: what is set, and where packets are
// sent.
func computed(s Statement) (out []Operand) {
	var list []*Operand
	switch s := s.(type) {
	case Assign:
		return s.Value
	case NAT:
		list = []*Operand{s.Addr, s.AddrMax, s.Port, s.PortMax, s.PortBase}
	case TProxy:
		list = []*Operand{s.Addr, s.Port}
	}
	for _, o := range list {
		if o != nil {
			out = append(out, *o)
		}
	}
	return out
}

// computes reports whether a statement makes a value of the address that was dialled, so that each
// address may have another one.
func computes(s Statement, f firewall.Family, answers bool) bool {
	return slices.ContainsFunc(computed(s), func(o Operand) bool {
		return isDialled(o.Field, f, answers)
	})
}

// hasEffect reports whether a statement does something though the rule may end behind it: nf_tables
// allows a match behind what sets a mark.
func hasEffect(s Statement) bool {
	switch s := s.(type) {
	case Match, NoEffect:
		return false
	case Unknown:
		return s.Effect
	}
	return true
}

func readsDialled(r *Rule, f firewall.Family, answers bool) (reads bool) {
	for _, s := range r.Statements {
		reads = reads || computes(s, f, answers)
		lookedUp(s, func(key []Operand, _ *Set) {
			reads = reads || slices.ContainsFunc(key, func(o Operand) bool {
				return isDialled(o.Field, f, answers)
			})
		})
	}
	return reads
}

// isDialled reports whether a field is the address that was dialled, before rules change that: where
// the packet goes, or where an answer comes from.
func isDialled(field Field, f firewall.Family, answers bool) bool {
	if answers {
		field = mirrored(field)
	}
	switch field {
	case FieldDest4, FieldCTOrigDest4, FieldCTReplySource4:
		return f == firewall.IPv4
	case FieldDest6, FieldCTOrigDest6, FieldCTReplySource6:
		return f == firewall.IPv6
	}
	return false
}

// names are the groups of addresses that rules name in one breath.
type names struct {
	family   firewall.Family
	protocol Value
	ports    Range
	groups   []named
	complete bool
	work     int
}

type named struct {
	addresses Ranges
	at        Place
}

// rule adds what a rule names, if packets of the ports can get to where it does.
func (n *names) rule(r namedIn) {
	from := len(n.groups)
	effect := false
	for _, s := range r.rule.Statements {
		if m, ok := s.(Match); ok && !m.Not && n.excluded(r, m.Key, m.In) {
			if !effect {
				n.groups = n.groups[:from]
			}
			return
		}
		effect = effect || hasEffect(s)
		n.complete = n.complete && !computes(s, n.family, r.answers)
		lookedUp(s, func(key []Operand, in *Set) {
			for i, o := range key {
				if isDialled(o.Field, n.family, r.answers) {
					n.column(r, key, in, i)
				}
			}
		})
	}
}

// excluded reports whether no element of a set is about the ports.
func (n *names) excluded(r namedIn, key []Operand, in *Set) bool {
	if in == nil || in.Unknown != "" || in.Grows || in.Default || !slices.ContainsFunc(key, r.ofTransport) {
		return false
	}
	for _, box := range in.All() {
		if n.work++; n.concerns(r, key, box) {
			return false
		}
	}
	return true
}

// ofTransport reports whether an operand is the protocol, or the port that was dialled.
func (r namedIn) ofTransport(o Operand) bool {
	return o.asIs() && (o.Field == FieldProtocol || o.Field == portField(r.answers) && !r.anyPort)
}

// concerns reports whether an element is about the ports.
func (n *names) concerns(r namedIn, key []Operand, box []Range) bool {
	for i, o := range key {
		if i >= len(box) || !r.ofTransport(o) {
			continue
		}
		if o.Field == FieldProtocol && !box[i].Contains(n.protocol) ||
			o.Field != FieldProtocol &&
				(box[i].To.Compare(n.ports.From) < 0 || n.ports.To.Compare(box[i].From) < 0) {
			return false
		}
	}
	return true
}

// column adds the addresses in a column of a set: those together that have the rest in common.
func (n *names) column(r namedIn, key []Operand, in *Set, at int) {
	groups := map[string][]Range{}
	var order []string
	n.work += 8 + in.Len()
	for i, box := range in.All() {
		if at >= len(box) || !n.concerns(r, key, box) {
			continue
		}
		rest := ""
		if in.Width > 1 || len(in.Verdicts) > 0 || in.DataWidth > 0 {
			rest = otherThan(in, i, at)
		}
		if _, known := groups[rest]; !known {
			if len(n.groups)+len(order) >= maxNames {
				n.complete = false
				continue
			}
			order = append(order, rest)
		}
		if key[at].asIs() {
			groups[rest] = append(groups[rest], box[at])
		} else if pre, ok := key[at].Preimage(box[at]); ok {
			groups[rest] = slices.AppendSeq(groups[rest], pre.All())
		} else {
			n.complete = false
		}
	}
	for _, rest := range order {
		if a := NewRanges(groups[rest]...); !a.Empty() && !a.Equal(AllSources(n.family)) {
			n.groups = append(n.groups, named{a, r.at})
		}
	}
}

// otherThan is everything about an element but one of its columns.
func otherThan(in *Set, i, column int) string {
	var b strings.Builder
	for j, r := range in.Element(i) {
		if j != column {
			fmt.Fprintf(&b, "%x-%x,", r.From.bytes(), r.To.bytes())
		}
	}
	if i < len(in.Verdicts) {
		fmt.Fprintf(&b, " %d %s", in.Verdicts[i].Kind, in.Verdicts[i].Chain)
	}
	if in.DataWidth > 0 {
		fmt.Fprintf(&b, " %v", in.Row(i))
	}
	return b.String()
}

// classes goes through all addresses in order, past every border of a group. Addresses that lie in
// the same groups are alike; which groups these are is kept as the exclusive or of a number for
// each.
func (n *names) classes() []Class {
	type border struct {
		at    Value
		group int
	}
	var borders []border
	for i, g := range n.groups {
		for r := range g.addresses.All() {
			borders = append(borders, border{r.From, i})
			if after, ok := r.To.next(); ok {
				borders = append(borders, border{after, i})
			}
		}
	}
	n.work += 8 * len(borders)
	slices.SortFunc(borders, func(a, b border) int { return a.at.Compare(b.at) })
	all := Full(addressWidth(n.family))
	in := make([]bool, len(n.groups))
	var count [8]int // of the groups that the address lies in, by the bit of their places
	var lies Value
	at := map[Value]int{}
	var out []Class
	var ranges [][]Range
	from := all.From
	add := func(to Value) {
		i, known := at[lies]
		if !known {
			i = len(out)
			at[lies] = i
			c := Class{}
			for bit, n := range count {
				if n > 0 {
					c.Named |= 1 << bit
				}
			}
			out, ranges = append(out, c), append(ranges, nil)
		}
		ranges[i] = append(ranges[i], Range{from, to})
	}
	for _, b := range borders {
		if all.To.Compare(b.at) < 0 {
			break
		}
		if b.at != from {
			to, _ := b.at.prev()
			add(to)
			from = b.at
		}
		in[b.group] = !in[b.group]
		step := -1
		if in[b.group] {
			step = 1
		}
		for bit := range count {
			if n.groups[b.group].at&(1<<bit) != 0 {
				count[bit] += step
			}
		}
		lies = lies.Xor(scattered(uint64(b.group) + 1))
	}
	add(all.To)
	for i := range out {
		out[i].Addresses = NewRanges(ranges[i]...)
	}
	return out
}

// scattered is a number of 128 bits for a small one, such that exclusive ors of several differ
// (splitmix64).
func scattered(n uint64) Value {
	mix := func(x uint64) uint64 {
		x += 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		return x ^ x>>31
	}
	return Value{mix(n), mix(^n)}
}
