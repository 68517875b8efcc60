package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// cmp compares bytes of the registers with a constant, as memcmp does: numbers in network order.
func (t *translator) cmp(e kernel.Cmp) {
	from, ok := e.Sreg.Offset()
	data := []byte(e.Data)
	if !ok || len(data) == 0 {
		t.unknownEffect("a malformed comparison")
		return
	}
	slots, ok := t.registers.read(from, len(data))
	if !ok {
		t.unknownMatch("a comparison with an unset register")
		return
	}
	switch op := e.Op; op {
	case unix.NFT_CMP_EQ, unix.NFT_CMP_NEQ:
		t.equal(slots, data, op == unix.NFT_CMP_NEQ)
	case unix.NFT_CMP_LT, unix.NFT_CMP_LTE, unix.NFT_CMP_GT, unix.NFT_CMP_GTE:
		top := exposure.Ones(8 * min(len(data), 16))
		v, ok := network.number(data)
		if !ok {
			t.unknownMatch("a comparison of more than 16 bytes")
			return
		}
		all, at := exposure.NewRanges(
			exposure.Full(8*len(data)),
		), exposure.NewRanges(
			exposure.One(v),
		)
		below := exposure.NewRanges(exposure.Range{To: v})
		above := exposure.NewRanges(exposure.Range{From: v, To: top})
		t.between(slots, map[uint32]exposure.Ranges{
			unix.NFT_CMP_LT: below.Minus(at), unix.NFT_CMP_LTE: below.Intersect(all), unix.NFT_CMP_GT: above.Minus(at), unix.NFT_CMP_GTE: above,
		}[op], false)
	default:
		t.unknownMatch(fmt.Sprintf("comparison %d", op))
	}
}

// equal is a tuple of pieces and the bytes that they are compared with.
func (t *translator) equal(slots []slot, data []byte, not bool) {
	m := exposure.Match{In: &exposure.Set{}, Not: not}
	var first *piece
	for _, s := range slots {
		want := data[s.at : s.at+s.n]
		if s.bytes != nil {
			if string(s.bytes) != string(want) { // they always differ
				if !not {
					t.never()
				}
				return
			}
			continue
		}
		o := s.natural()
		v, ok := o.number(want)
		if !ok {
			t.unknownMatch("a comparison of more than 16 bytes")
			return
		}
		key, r := normal(s.single(o), exposure.One(v))
		m.Key, m.In.Keys = append(m.Key, key), append(m.In.Keys, r)
		m.In.Width++
		first = s.piece
	}
	switch m.In.Width {
	case 0: // they never differ
		if not {
			t.never()
		}
	case 1:
		t.compare(first, m)
	default:
		if not {
			t.match(m)
			return
		}
		// Several fields equal several values if each does; nft had made one load of them.
		for i, key := range m.Key {
			t.match(exposure.In(key, m.In.Keys[i]))
		}
	}
}

// inRange is the range expression: from … to, both included.
func (t *translator) inRange(e kernel.Range) {
	at, ok := e.Sreg.Offset()
	from, to := []byte(e.From), []byte(e.To)
	if !ok || len(from) == 0 || len(from) != len(to) {
		t.unknownEffect("a malformed range")
		return
	}
	slots, ok := t.registers.read(at, len(from))
	low, ok1 := network.number(from)
	high, ok2 := network.number(to)
	if !ok || !ok1 || !ok2 {
		t.unknownMatch("a range of more than 16 bytes")
		return
	}
	var r exposure.Ranges
	if low.Compare(high) <= 0 {
		r = exposure.NewRanges(exposure.Range{From: low, To: high})
	}
	t.between(slots, r, e.Op == unix.NFT_RANGE_NEQ)
}

// between compares one number in network order with ranges.
func (t *translator) between(slots []slot, r exposure.Ranges, not bool) {
	if len(slots) != 1 {
		t.unknownMatch("an order of several fields")
		return
	}
	s := slots[0]
	if s.bytes != nil {
		v, _ := network.number(s.bytes)
		if r.Contains(v) == not {
			t.never()
		}
		return
	}
	if !s.natural().same(network, s.n) && len(s.ops) > 0 {
		t.unknownMatch(fmt.Sprintf("an order of the bytes of %v", s.ops[0]))
		return
	}
	m := exposure.Match{In: &exposure.Set{Width: 1}, Not: not}
	o := s.single(network)
	key := o
	for _, x := range r.List() {
		k, y := normal(o, x)
		if k != o {
			key = k
		}
		m.In.Keys = append(m.In.Keys, y)
	}
	m.Key = []exposure.Operand{key}
	if key != o && len(r.List()) > 1 { // never so: cmp and range make one range
		m.Key, m.In.Keys = []exposure.Operand{o}, r.List()
	}
	t.compare(s.piece, m)
}

// compare adds a match of a piece, in the simplest words.
func (t *translator) compare(p *piece, m exposure.Match) {
	key := m.Key[0]
	if len(m.In.Keys) == 0 { // nothing lies between
		if !m.Not {
			t.never()
		}
		return
	}
	if f, ok := t.fragment(m); ok {
		t.match(f)
		return
	}
	if key.Field == exposure.FieldUnknown {
		if key.Text == iifType && !m.Not &&
			m.In.Keys[0] == exposure.One(exposure.Number(unix.ARPHRD_ETHER)) {
			// A packet has a sender's MAC address if, and only if, it came in from Ethernet.
			t.match(exposure.In(exposure.Of(exposure.FieldSourceMAC), exposure.Full(48)))
			return
		}
		if n := len(t.out); n > 0 &&
			t.out[n-1] == (exposure.Statement(exposure.Unknown{Text: key.Text})) {
			// The load may end the rule, and so may this: one unknown match is enough.
			t.out[n-1] = exposure.Unknown{Text: matchText(m)}
			return
		}
	}
	if n := len(t.out); n > 0 && t.compared == p && !m.Not {
		if last, ok := t.out[n-1].(exposure.Match); ok && !last.Not && len(last.Key) == 1 &&
			last.Key[0] == key {
			both := exposure.NewRanges(last.In.Keys...).Intersect(exposure.NewRanges(m.In.Keys...))
			if !both.Empty() {
				t.out = t.out[:n-1]
				m.In = exposure.SetOf(both.List()...)
			}
		}
	}
	t.match(m)
	t.compared = p
}

// fragment is iptables' -f and nft's "ip frag-off & 0x1fff": the offset of a first fragment is
// zero.
func (t *translator) fragment(m exposure.Match) (exposure.Match, bool) {
	offset := exposure.Operand{
		Field: exposure.FieldRaw,
		Raw:   exposure.Raw{Base: exposure.RawNetwork, Offset: 48, Bits: 16},
	}
	if t.version != 4 || m.Key[0] != offset.And(exposure.Number(0x1fff)) || len(m.In.Keys) != 1 ||
		m.In.Keys[0] != exposure.One(exposure.Value{}) {
		return m, false
	}
	later := uint64(0)
	if m.Not {
		later = 1
	}
	return exposure.In(
		exposure.Of(exposure.FieldFragment),
		exposure.One(exposure.Number(later)),
	), true
}

// normal says "the upper bits are these" as a range of the whole field: a prefix that was loaded as
// its first bytes, or masked.
func normal(o exposure.Operand, r exposure.Range) (exposure.Operand, exposure.Range) {
	if !o.Xor.IsZero() || o.Field == exposure.FieldNone || o.Field == exposure.FieldUnknown {
		return o, r
	}
	width := o.Width()
	whole := o
	whole.Shift, whole.Clear = 0, exposure.Value{}
	switch {
	case o.Shift < 0 && o.Clear.IsZero():
		n := -o.Shift
		if r.To.Compare(exposure.Ones(width-n)) > 0 {
			return o, r
		}
		r = exposure.Range{From: r.From.Shift(n), To: r.To.Shift(n).Or(exposure.Ones(n))}
		if isName(o) && r.From.Or(exposure.Ones(n)) == r.To &&
			r.From.And(exposure.Number(0xff).Shift(n)).IsZero() {
			// the zero byte that ends the name was compared too, and behind it there are only zeros
			r.To = r.From
		}
		return whole, r
	case o.Shift == 0 && !o.Clear.IsZero():
		for n := 1; n < width; n++ {
			if o.Clear == exposure.Ones(n) && r.From.And(o.Clear).IsZero() {
				return whole, exposure.Range{From: r.From, To: r.To.Or(o.Clear)}
			}
		}
	}
	return o, r
}

func isName(o exposure.Operand) bool {
	switch o.Field {
	case exposure.FieldInName, exposure.FieldOutName, exposure.FieldPhysIn, exposure.FieldPhysOut:
		return true
	}
	return o.Field == exposure.FieldFib && o.Fib.Want == exposure.FibOutName
}

// lookup asks a set, or a map: for data, which it writes to a register, or a verdict.
func (t *translator) lookup(e kernel.Lookup) {
	name := e.Set
	key, v, found := t.key(name, e.Sreg)
	not := e.Flags&unix.NFT_LOOKUP_F_INV != 0
	switch {
	case !found && e.Dreg.Set:
		t.unknownEffect("unknown key map @" + name)
	case !found:
		t.unknownMatch("unknown key @" + name)
	case !e.Dreg.Set:
		t.match(exposure.Match{Key: key, In: v.out, Not: not})
	case e.Dreg.Is(unix.NFT_REG_VERDICT):
		t.add(exposure.VerdictMap{Key: key, In: v.out})
	default:
		t.load(kernel.Register(e.Dreg.Value), &piece{n: v.set.dataLength, data: &mapData{v, key}})
	}
}

// key is the tuple that registers hold for a set, and the set with its columns. False if the set
// isn't there, is wider than the registers, or these aren't set.
func (t *translator) key(
	name string,
	register kernel.Register,
) ([]exposure.Operand, *variant, bool) {
	s := t.table.sets[name]
	from, ok := register.Offset()
	if s == nil || !ok || s.keyLength > registerBytes || s.dataLength > registerBytes {
		return nil, nil, false
	}
	slots, ok := t.registers.read(from, s.keyLength)
	if !ok {
		return nil, nil, false
	}
	var operands []exposure.Operand
	var columns []keyColumn
	width := 0
	for _, x := range slots {
		o := x.natural()
		c := keyColumn{column: column{at: x.at, n: x.n, order: o}}
		if x.bytes != nil {
			c.fixed, c.want = true, string(x.bytes)
		} else {
			op := x.single(o)
			c.name = columnName(s, x.at, x.n, op)
			operands = append(operands, op)
			width++
		}
		columns = append(columns, c)
	}
	if width == 0 { // everything is constant: let the first column be looked up
		columns[0].fixed, columns[0].want = false, ""
		c := columns[0]
		v, ok := network.number(slots[0].bytes)
		if !ok {
			return nil, nil, false
		}
		columns[0].name = columnName(s, c.at, c.n, exposure.Const(v))
		operands = append(operands, exposure.Const(v))
	}
	return operands, s.variant(columns), true
}

// columnName is nft's name for the type, or what is looked up.
func columnName(s *kernelSet, at, n int, o exposure.Operand) string {
	if name := s.typeName(at, n); name != "" {
		return name
	}
	return o.Field.String()
}
