package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// Operations of bitwise: enum nft_bitwise_ops. The last three (since Linux 6.13) take a constant or
// a second register.
const (
	bitwiseMaskXor = 0
	bitwiseLShift  = 1
	bitwiseRShift  = 2
	bitwiseAnd     = 3
	bitwiseOr      = 4
	bitwiseXor     = 5
)

// immediate writes a constant to a register, or is the rule's verdict.
func (t *translator) immediate(e kernel.Immediate) {
	if e.Dreg != kernel.RegVerdict {
		t.load(e.Dreg, constant([]byte(e.Data)))
		return
	}
	if v, ok := verdictOf(e.Verdict); ok {
		t.add(v)
	} else {
		t.never()
	}
}

func (t *translator) bitwise(e kernel.Bitwise) {
	from, ok1 := e.Sreg.Offset()
	to, ok2 := e.Dreg.Offset()
	n := int(min(e.Len, registerBytes+1))
	slots, ok3 := t.registers.read(from, n)
	if !ok1 || !ok2 {
		t.unknownEffect("bitwise without registers")
		return
	}
	out := []*piece{operand(unknown("bitwise", min(n, registerBytes)), min(n, registerBytes), host)}
	if ok3 {
		var err error
		switch op := e.Op; op {
		case bitwiseMaskXor:
			out, err = maskXor(slots, n, []byte(e.Mask), []byte(e.Xor))
		case bitwiseLShift, bitwiseRShift:
			out, err = shifted(slots, n, op == bitwiseLShift, []byte(e.Data))
		case bitwiseAnd, bitwiseOr, bitwiseXor:
			second, serr := t.second(e, n)
			if err = serr; err == nil && second != nil {
				out = combined(slots, second, op)
			}
		}
		if err != nil {
			t.unknownEffect("a malformed bitwise")
			return
		}
	}
	length := 0
	for _, p := range out {
		t.registers.write(to+length, p)
		length += p.n
	}
	t.registers.zero(to, length)
}

// maskXor is (source & mask) ^ xor, piece by piece.
func maskXor(slots []slot, n int, mask, xor []byte) ([]*piece, error) {
	if len(mask) != n || len(xor) != n {
		return nil, netlink.ErrMalformed
	}
	var out []*piece
	for _, s := range slots {
		m, x := mask[s.at:s.at+s.n], xor[s.at:s.at+s.n]
		if s.bytes != nil {
			b := make([]byte, s.n)
			for i := range b {
				b[i] = s.bytes[i]&m[i] ^ x[i]
			}
			out = append(out, constant(b))
			continue
		}
		o := s.natural()
		mv, ok1 := o.number(m)
		xv, ok2 := o.number(x)
		if !ok1 || !ok2 {
			out = append(out, operand(unknown("bitwise", s.n), s.n, o))
			continue
		}
		p := &piece{n: s.n, order: o}
		for i, op := range s.number(o) {
			if op = op.And(mv); i == 0 {
				op = flip(op, xv, s.n)
			}
			p.ops = append(p.ops, constantIfEmptied(op))
		}
		out = append(out, p)
	}
	return out, nil
}

// flip is XorWith for a piece of n bytes. A field narrower than the piece (a boolean) can't hold
// the bits above: they make it unknown.
func flip(o exposure.Operand, x exposure.Value, n int) exposure.Operand {
	if !x.AndNot(exposure.Ones(o.Width())).IsZero() {
		return unknown("bitwise", n)
	}
	return o.XorWith(x)
}

// constantIfEmptied is a constant where nothing of the field is left.
func constantIfEmptied(o exposure.Operand) exposure.Operand {
	if all := exposure.Ones(o.Width()); o.Field != exposure.FieldNone && o.Clear.And(all) == all {
		return exposure.Const(o.Xor)
	}
	return o
}

// shifted moves bits. The kernel takes the register's 32-bit words as numbers in host order and
// shifts from one word into the other (nft_bitwise_eval_lshift): what fits one word is an Operand's
// shift, provided that the bytes are a number in host order, which nft has seen to.
func shifted(slots []slot, n int, left bool, b []byte) ([]*piece, error) {
	if len(b) != 4 {
		return nil, netlink.ErrMalformed
	}
	v, _ := host.number(b)
	by, _ := v.Uint64()
	lost := []*piece{operand(unknown("bitwise shift", n), n, host)}
	if len(slots) != 1 || n > 4 || by > 31 || !littleEndian && n != 4 {
		return lost, nil
	}
	s := slots[0]
	if s.bytes == nil && !s.natural().same(host, s.n) {
		return lost, nil
	}
	shift := int(by)
	if !left {
		shift = -shift
	}
	p := &piece{n: n, order: host}
	for _, o := range s.number(host) {
		if c, ok := o.IsConst(); ok {
			p.ops = append(p.ops, exposure.Const(c.Shift(shift).And(exposure.Ones(32))))
			continue
		}
		// bits move beyond the piece, into bytes that the field doesn't have
		if left && n < 4 && o.Width() < 32 {
			return append([]*piece{}, operand(unknown("bitwise shift", 4), 4, host)), nil
		}
		p.ops = append(p.ops, o.ShiftBy(shift))
	}
	return []*piece{p}, nil
}

// second is the other side of and, or, xor: a register or a constant of n bytes; nil if it can't be
// read.
func (t *translator) second(e kernel.Bitwise, n int) ([]slot, error) {
	if e.Sreg2 != 0 {
		from, ok := e.Sreg2.Offset()
		if !ok {
			return nil, netlink.ErrMalformed
		}
		slots, _ := t.registers.read(from, n)
		return slots, nil
	}
	b := []byte(e.Data)
	if len(b) != n {
		return nil, netlink.ErrMalformed
	}
	return []slot{{0, constant(b)}}, nil
}

// combined is and, or, xor of two values. What has one piece on one side is cut like the other
// side.
func combined(a, b []slot, op uint32) []*piece {
	if len(a) == 1 && len(b) > 1 {
		a, b = b, a
	}
	var out []*piece
	for i, x := range a {
		var y *piece
		switch {
		case len(b) == 1:
			y = b[0].slice(x.at, x.n)
		case len(a) == len(b) && b[i].at == x.at && b[i].n == x.n:
			y = b[i].piece
		default:
			out = append(out, operand(unknown("bitwise", x.n), x.n, host))
			continue
		}
		out = append(out, combine(x.piece, y, op))
	}
	return out
}

func combine(x, y *piece, op uint32) *piece {
	if x.bytes != nil {
		x, y = y, x // the constant, if there is one, is y
	}
	o := x.natural()
	xs, ys := x.number(o), y.number(o)
	p := &piece{n: x.n, order: o}
	lost := operand(
		unknown(fmt.Sprintf("bitwise %s", [...]string{"and", "or", "xor"}[op-bitwiseAnd]), x.n),
		x.n,
		o,
	)
	constant, isConst := ys[0].IsConst()
	isConst = isConst && len(ys) == 1
	switch {
	case op == bitwiseXor:
		p.ops = append(append(p.ops, xs...), ys...)
		if isConst {
			p.ops = append([]exposure.Operand{flip(xs[0], constant, x.n)}, xs[1:]...)
		}
	case op == bitwiseAnd && isConst:
		for _, v := range xs {
			p.ops = append(p.ops, constantIfEmptied(v.And(constant)))
		}
	case op == bitwiseOr && isConst: // (a ^ b) | c is (a &^ c) ^ (b &^ c) ^ c
		for i, v := range xs {
			v = v.And(exposure.Ones(128).AndNot(constant))
			if i == 0 {
				v = flip(v, constant, x.n)
			}
			p.ops = append(p.ops, constantIfEmptied(v))
		}
	case op == bitwiseOr && disjoint(xs, ys):
		p.ops = append(append(p.ops, xs...), ys...)
	default:
		return lost
	}
	return p
}

// disjoint reports whether two values never have a bit in common: then or is exclusive or.
func disjoint(xs, ys []exposure.Operand) bool { return may(xs).And(may(ys)).IsZero() }

// may is the bits that a value can have.
func may(ops []exposure.Operand) exposure.Value {
	var out exposure.Value
	for _, o := range ops {
		b := o.ApplyBits(exposure.Bits{})
		out = out.Or(b.Value).Or(exposure.Ones(o.Width()).AndNot(b.Known))
	}
	return out
}

// byteorder turns the bytes of numbers of size bytes about. On a machine whose own order is the
// network's it does nothing.
func (t *translator) byteorder(e kernel.Byteorder) {
	from, ok1 := e.Sreg.Offset()
	to, ok2 := e.Dreg.Offset()
	n, size := int(min(e.Len, registerBytes+1)), int(min(e.Size, 9))
	if !ok1 || !ok2 {
		t.unknownEffect("byteorder without registers")
		return
	}
	if size == 2 || size == 4 || size == 8 {
		// The kernel turns whole numbers only (nft_byteorder_eval). For "meta l4proto" in a set of
		// concatenated ranges nft asks it to turn one byte in pairs: that does nothing.
		if n -= n % size; n == 0 {
			return
		}
	}
	slots, ok := t.registers.read(from, n)
	if !ok {
		slots = []slot{
			{0, operand(unknown("byteorder", min(n, registerBytes)), min(n, registerBytes), host)},
		}
	}
	for _, s := range slots {
		t.registers.write(to+s.at, turned(s.piece, size))
	}
}

func turned(p *piece, size int) *piece {
	switch {
	case !littleEndian:
		return p
	case p.bytes != nil && size > 0 && p.n%size == 0:
		b := make([]byte, p.n)
		for i := range b {
			b[i] = p.bytes[i-i%size+size-1-i%size]
		}
		return constant(b)
	case p.n == size && p.data != nil:
		return &piece{n: p.n, data: p.data, at: p.at, swapped: !p.swapped}
	case p.n == size && p.ops != nil:
		return &piece{n: p.n, ops: p.ops, order: p.order.swapped()}
	}
	return operand(unknown("byteorder", p.n), p.n, host)
}
