package nftables

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// codec carries one expression between its type and its netlink attributes. An expression lists its
// attributes once, in a method that takes a codec: reading, the codec fills the fields; writing, it
// appends them.
//
// A missing number means zero, as in the kernel. Kernels also report zeros that nobody sent, so an
// attribute of zeros that the type doesn't list is no difference. Anything else that the type
// doesn't list, or that has another length, makes the expression Unknown.
type codec struct {
	writing bool
	out     []byte // writing: what was appended so far
	in      []byte // reading
	attrs   [maxAttributes]attribute
	n       int  // how many attributes there are
	misfit  bool // reading: something doesn't fit the type
}

// maxAttributes is more than any expression has.
const maxAttributes = 14

// attribute is where one stands that was read.
type attribute struct {
	kind, at, size uint16
	taken          bool
}

// codecs are used again: a ruleset has a million expressions.
var codecs = sync.Pool{New: func() any { return new(codec) }}

// parse prepares the codec to read attributes.
func (c *codec) parse(b []byte) {
	*c = codec{in: b}
	if len(b) > math.MaxUint16 { // an attribute holds no more
		c.misfit = true
		return
	}
	next := 0
	err := netlink.Each(b, func(kind uint16, data []byte) error {
		if c.find(kind) != nil || c.n == len(c.attrs) {
			c.misfit = true // the kernel never sends one twice
			return nil
		}
		at := next + unix.NLA_HDRLEN
		c.attrs[c.n] = attribute{kind: kind, at: uint16(at), size: uint16(len(data))}
		c.n++
		next = at + (len(data)+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)
		return nil
	})
	c.misfit = c.misfit || err != nil
}

func (c *codec) find(kind uint16) *attribute {
	for i := range c.attrs[:c.n] {
		if c.attrs[i].kind == kind {
			return &c.attrs[i]
		}
	}
	return nil
}

// take is an attribute's data; nil if it isn't there.
func (c *codec) take(kind uint16) []byte {
	a := c.find(kind)
	if a == nil {
		return nil
	}
	a.taken = true
	return c.dataOf(a)
}

// fits reports whether all that was read found a field.
func (c *codec) fits() bool {
	for i := range c.attrs[:c.n] {
		if a := &c.attrs[i]; !a.taken && !isZero(c.dataOf(a)) {
			return false
		}
	}
	return !c.misfit
}

func (c *codec) dataOf(a *attribute) []byte { return c.in[a.at : a.at+a.size] }

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// number is an attribute of so many bytes in network byte order. One that is optional is not
// written if it is zero.
func (c *codec) number(kind uint16, size int, value uint64, optional bool) uint64 {
	if c.writing {
		if value != 0 || !optional {
			var b [8]byte
			binary.BigEndian.PutUint64(b[:], value)
			c.out = netlink.AppendBytes(c.out, kind, b[8-size:])
		}
		return value
	}
	data := c.take(kind)
	if data != nil && len(data) != size {
		c.misfit = true
	}
	return netlink.Number(data)
}

// Attributes that the kernel insists on are written even if they are zero, the optional ones are
// not.

func (c *codec) u32(kind uint16, v *uint32) { *v = uint32(c.number(kind, 4, uint64(*v), false)) }

func (c *codec) u64(kind uint16, v *uint64) { *v = c.number(kind, 8, *v, false) }

func (c *codec) optional8(kind uint16, v *uint8) { *v = uint8(c.number(kind, 1, uint64(*v), true)) }

func (c *codec) optional16(kind uint16, v *uint16) {
	*v = uint16(c.number(kind, 2, uint64(*v),
		true))
}

func (c *codec) optional32(kind uint16, v *uint32) {
	*v = uint32(c.number(kind, 4, uint64(*v),
		true))
}

func (c *codec) optional64(kind uint16, v *uint64) { *v = c.number(kind, 8, *v, true) }

func (c *codec) register(kind uint16, v *Register) {
	*v = Register(c.number(kind, 4, uint64(*v), true))
}

// present is a number whose being there says something, also if it is zero.
func (c *codec) present(kind uint16, size int, v *Optional) {
	if c.writing {
		if v.Set {
			c.number(kind, size, uint64(v.Value), false)
		}
		return
	}
	v.Set = c.find(kind) != nil
	v.Value = uint32(c.number(kind, size, 0, false))
}

// ignore drops an attribute that says nothing about what the expression does.
func (c *codec) ignore(kinds ...uint16) {
	for _, kind := range kinds {
		c.take(kind)
	}
}

// text is a string, which may end with a zero byte; it is not written if it is empty.
func (c *codec) text(kind uint16, s *string) {
	if c.writing {
		if *s != "" {
			c.out = netlink.AppendString(c.out, kind, *s)
		}
		return
	}
	data := c.take(kind)
	*s = netlink.String(data)
	if len(*s) < len(data)-1 {
		c.misfit = true
	}
}

// raw is bytes as they are.
func (c *codec) raw(kind uint16, s *string) {
	if c.writing {
		c.out = netlink.AppendBytes(c.out, kind, []byte(*s))
		return
	}
	*s = string(c.take(kind))
}

// data is NFTA_DATA_VALUE in a nested attribute: the content of a register.
func (c *codec) data(kind uint16, s *string) {
	if c.writing {
		if *s != "" {
			at := c.nest(kind)
			c.out = netlink.AppendBytes(c.out, unix.NFTA_DATA_VALUE, []byte(*s))
			c.unnest(at)
		}
		return
	}
	var inner codec
	inner.parse(c.take(kind))
	*s = string(inner.take(unix.NFTA_DATA_VALUE))
	c.misfit = c.misfit || !inner.fits()
}

// verdict is NFTA_DATA_VERDICT in a nested attribute.
func (c *codec) verdict(kind uint16, v *Verdict) {
	if c.writing {
		at := c.nest(kind)
		c.out = v.Append(c.out)
		c.unnest(at)
		return
	}
	var inner codec
	inner.parse(c.take(kind))
	var ok bool
	*v, ok = DecodeVerdict(inner.take(unix.NFTA_DATA_VERDICT))
	c.misfit = c.misfit || !ok || !inner.fits()
}

// expressions are nested in another expression: one in an attribute of its own, several in a list.
func (c *codec) expressions(single, list uint16, exprs *[maxNested]Expr) {
	switch {
	case !c.writing:
		n := 0
		add := func(b []byte) {
			if n == len(exprs) {
				c.misfit = true
				return
			}
			exprs[n] = DecodeExpr(b)
			n++
		}
		if b := c.take(single); b != nil {
			add(b)
		}
		if err := netlink.Each(c.take(list), func(_ uint16, b []byte) error {
			add(b)
			return nil
		}); err != nil {
			c.misfit = true
		}
	case exprs[1] != nil:
		at := c.nest(list)
		for _, e := range exprs {
			inner := c.nest(unix.NFTA_LIST_ELEM)
			c.out = AppendExpr(c.out, e)
			c.unnest(inner)
		}
		c.unnest(at)
	case exprs[0] != nil:
		at := c.nest(single)
		c.out = AppendExpr(c.out, exprs[0])
		c.unnest(at)
	}
}

// nest opens an attribute that holds attributes; unnest closes it.
func (c *codec) nest(kind uint16) (at int) {
	at = len(c.out)
	c.out = netlink.AppendBytes(c.out, kind|unix.NLA_F_NESTED, nil)
	return at
}

func (c *codec) unnest(at int) {
	binary.NativeEndian.PutUint16(c.out[at:], uint16(len(c.out)-at))
	for len(c.out)%unix.NLA_ALIGNTO != 0 { // behind an expression that nobody could read
		c.out = append(c.out, 0)
	}
}
