package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// registerBytes is how many bytes the kernel's registers hold (struct nft_regs,
// include/net/netfilter/nf_tables.h).
const registerBytes = 64

// piece is some bytes that belong together. Exactly one of bytes, ops and data is set.
type piece struct {
	n int
	// bytes is a constant.
	bytes []byte
	// ops is the exclusive or of some operands, as a number in an order.
	ops   []exposure.Operand
	order order
	// data is what a map holds, from a byte on. Its order is left open until someone reads it as a
	// number: swapped says that byteorder has turned it about.
	data    *mapData
	at      int
	swapped bool
}

func constant(b []byte) *piece { return &piece{n: len(b), bytes: b} }

func operand(o exposure.Operand, n int, ord order) *piece {
	return &piece{n: n, ops: []exposure.Operand{o}, order: ord}
}

// unknown is a value of n bytes that can't be known.
func unknown(text string, n int) exposure.Operand {
	o := exposure.Operand{Field: exposure.FieldUnknown, Text: text}
	if n < 16 {
		o.Max = exposure.Ones(8 * n)
	}
	return o
}

// slice is a part of a piece.
func (p *piece) slice(from, n int) *piece {
	switch {
	case from == 0 && n == p.n:
		return p
	case p.bytes != nil:
		return constant(p.bytes[from : from+n])
	case p.data != nil && p.swapped:
		return operand(unknown("part of a map's data", n), n, network)
	case p.data != nil:
		return &piece{n: n, data: p.data, at: p.at + from}
	}
	// Bytes below the part, in the number's sense: behind it in network order, before it in host
	// order.
	below, above := p.n-from-n, from
	if p.order == host && littleEndian {
		below, above = from, p.n-from-n
	}
	out := &piece{n: n, order: p.order}
	for _, o := range p.ops {
		if below > 0 {
			o = o.ShiftBy(-8 * below)
		}
		if above > 0 {
			o = o.And(exposure.Ones(8 * n))
		}
		out.ops = append(out.ops, o)
	}
	return out
}

// number is the piece as a number in an order: the exclusive or of the operands.
func (p *piece) number(o order) []exposure.Operand {
	switch {
	case p.bytes != nil:
		if v, ok := o.number(p.bytes); ok {
			return []exposure.Operand{exposure.Const(v)}
		}
	case p.data != nil:
		if p.n <= 16 {
			if p.swapped {
				o = o.swapped()
			}
			return []exposure.Operand{p.data.operand(p.at, p.n, o)}
		}
	case p.order.same(o, p.n):
		return p.ops
	default:
		return []exposure.Operand{unknown(fmt.Sprintf("%v with its bytes swapped", p.ops[0]), p.n)}
	}
	return []exposure.Operand{unknown(fmt.Sprintf("%d bytes", p.n), p.n)}
}

// single is the piece as one operand.
func (p *piece) single(o order) exposure.Operand {
	ops := p.number(o)
	if len(ops) == 1 {
		return ops[0]
	}
	return unknown(fmt.Sprintf("%v ^ %v", ops[0], ops[1]), p.n)
}

// natural is the order in which the piece is a number by itself.
func (p *piece) natural() order {
	switch {
	case p.data != nil:
		o := p.data.v.set.dataOrder(p.at, p.n)
		if p.swapped {
			return o.swapped()
		}
		return o
	case p.bytes != nil:
		return network
	}
	return p.order
}

// cell is a byte of the registers: a byte of a piece. Without a piece nothing was ever written
// there; the kernel refuses rules that read such bytes.
type cell struct {
	p  *piece
	at int
}

type registers [registerBytes]cell

// write puts a piece at an offset; what reaches beyond the registers is lost.
func (r *registers) write(offset int, p *piece) {
	for i := 0; i < p.n && offset+i < len(r); i++ {
		r[offset+i] = cell{p, i}
	}
}

// zero fills up to the next multiple of four bytes behind n, as the kernel's stores of one and two
// bytes do (nft_reg_store8), and payload's of any number.
func (r *registers) zero(offset, n int) {
	if pad := (4 - n%4) % 4; pad > 0 {
		r.write(offset+n, constant(make([]byte, pad)))
	}
}

// slot is a piece and where it was read, from the beginning of what was asked for.
type slot struct {
	at int
	*piece
}

// read is the pieces that lie in n bytes of the registers, in order; false if they aren't all
// there.
func (r *registers) read(offset, n int) ([]slot, bool) {
	if n <= 0 || offset+n > len(r) {
		return nil, false
	}
	var out []slot
	for i := 0; i < n; {
		first := r[offset+i]
		if first.p == nil {
			return nil, false
		}
		k := 1
		for i+k < n && r[offset+i+k] == (cell{first.p, first.at + k}) {
			k++
		}
		out = append(out, slot{i, first.p.slice(first.at, k)})
		i += k
	}
	return out, true
}

// compose reads n bytes as one number: what a mark, an address or a port is taken from.
func (r *registers) compose(offset, n int, o order) []exposure.Operand {
	slots, ok := r.read(offset, n)
	if !ok {
		return []exposure.Operand{unknown("an unset register", n)}
	}
	if len(slots) == 1 {
		return slots[0].number(o)
	}
	var out []exposure.Operand
	for _, s := range slots {
		shift := 8 * (n - s.at - s.n)
		if o == host && littleEndian {
			shift = 8 * s.at
		}
		for _, x := range s.number(o) {
			if c, ok := x.IsConst(); ok {
				if c = c.Shift(shift); !c.IsZero() {
					out = append(out, exposure.Const(c))
				}
				continue
			}
			if shift > 0 {
				if x.Width() < 8*n {
					return []exposure.Operand{unknown("several fields as one number", n)}
				}
				x = x.ShiftBy(shift)
			}
			out = append(out, x)
		}
	}
	if len(out) == 0 {
		return []exposure.Operand{exposure.Const(exposure.Value{})}
	}
	return out
}

// one is compose as a single operand.
func (r *registers) one(offset, n int, o order) exposure.Operand {
	ops := r.compose(offset, n, o)
	if len(ops) == 1 {
		return ops[0]
	}
	return unknown("several values as one", n)
}
