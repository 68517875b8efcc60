package nftables

import (
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// Attributes and flags that x/sys/unix lacks (include/uapi/linux/netfilter/nf_tables.h).
const (
	flagConcat  = 0x80       // NFT_SET_CONCAT
	flagObject  = 0x40       // NFT_SET_OBJECT
	verdictType = 0xffffff00 // NFT_DATA_VERDICT
)

// kernelSet is a set as the kernel has it, and the sets of the model made from it.
type kernelSet struct {
	name                string
	flags               uint32
	keyLength           int
	keyTypes, dataTypes []dataType
	dataLength          int
	verdicts            bool
	objectType          uint32
	lengths             []int // of the key's columns
	size                int
	// what the set attaches to each element: "limit rate 5/second"
	conditions string
	rate       exposure.Rate // what conditions begin with, if that is a rate
	broken     string        // why it can't be read; ""
	read       *Elements     // nil: there are none
	filled     bool          // with its elements, by fillFlat
	elements   *elements
	variants   []*variant
}

// variant is a set of the model: the kernel's set with its key, and its data, cut into columns in
// one way. Nearly every set has just one.
type variant struct {
	set  *kernelSet
	key  []keyColumn
	data []column
	out  *exposure.Set
}

// keyColumn is a column of the key, or, with want, bytes that the registers hold a constant for:
// only elements with these bytes can be found.
type keyColumn struct {
	column
	want string
	// fixed: want counts, and this is no column of the model's set.
	fixed bool
}

func setOf(k kernel.Set) *kernelSet {
	s := &kernelSet{
		name:       k.Name,
		flags:      k.Flags,
		keyLength:  int(k.KeyLen),
		dataLength: int(k.DataLen),
		keyTypes:   typesOf(k.KeyType),
		objectType: k.ObjectType,
		size:       int(k.Size),
	}
	s.conditions, s.rate = conditions(k.Exprs)
	if s.verdicts = k.DataType == verdictType; !s.verdicts {
		s.dataTypes = typesOf(k.DataType)
	}
	if s.keyLength > registerBytes || s.dataLength > registerBytes {
		s.broken = fmt.Sprintf("a key of %d and data of %d bytes", s.keyLength, s.dataLength)
	}
	for _, n := range k.Fields {
		s.lengths = append(s.lengths, int(n))
	}
	return s
}

func (s *kernelSet) is(flag uint32) bool { return s.flags&flag != 0 }

// variant finds or makes the set with these columns.
func (s *kernelSet) variant(key []keyColumn) *variant {
	for _, v := range s.variants {
		if slices.Equal(v.key, key) {
			return v
		}
	}
	v := &variant{
		set: s,
		key: key,
		out: &exposure.Set{Size: s.size, Grows: s.is(unix.NFT_SET_EVAL)},
	}
	if !s.is(unix.NFT_SET_ANONYMOUS) {
		v.out.Name = s.name
	}
	for _, c := range key {
		if !c.fixed {
			v.out.Width++
			v.out.Columns = append(v.out.Columns, c.name)
		}
	}
	s.variants = append(s.variants, v)
	return v
}

// declared is the variant with the columns that nft noted, for a set that no rule looks up.
func (s *kernelSet) declared() *variant {
	columns := layoutOf(s.keyTypes, s.lengths, s.keyLength)
	if columns == nil {
		columns = []column{{n: s.keyLength, name: "integer"}}
	}
	var key []keyColumn
	for _, c := range columns {
		key = append(key, keyColumn{column: c})
	}
	v := s.variant(key)
	if len(v.data) == 0 && !s.verdicts && s.is(unix.NFT_SET_MAP) {
		v.data = layoutOf(s.dataTypes, nil, s.dataLength)
	}
	return v
}

// typeName is nft's name for the type of the key column at an offset; "" if the types don't say.
func (s *kernelSet) typeName(at, n int) string {
	for _, c := range layoutOf(s.keyTypes, s.lengths, s.keyLength) {
		if c.at == at && c.n == n && c.name != "integer" && c.name != "string" {
			return c.name
		}
	}
	return ""
}

// dataOrder is the byte order of a part of the data, by its type.
func (s *kernelSet) dataOrder(at, n int) order {
	for _, c := range layoutOf(s.dataTypes, nil, s.dataLength) {
		if c.at == at && c.n == n {
			return c.order
		}
	}
	return network
}

// mapData is what a look-up left in the registers.
type mapData struct {
	v   *variant
	key []exposure.Operand
}

// operand is a part of the data as a number. Parts of one map share a set, so that what belongs to
// one element stays together.
func (d *mapData) operand(at, n int, o order) exposure.Operand {
	for i, c := range d.v.data {
		if c.at == at && c.n == n && o.same(c.order, n) {
			return d.column(i)
		}
	}
	d.v.data = append(d.v.data, column{at: at, n: n, order: o})
	return d.column(len(d.v.data) - 1)
}

func (d *mapData) column(i int) exposure.Operand {
	return exposure.Operand{
		Field:  exposure.FieldMap,
		Lookup: &exposure.Lookup{Key: d.key, In: d.v.out, Column: i},
	}
}

// finish fills the variants with the elements. now is when they were read.
func (s *kernelSet) finish(now time.Time) {
	if s.filled {
		return
	}
	if s.elements == nil {
		s.elements = decodeElements(s, now)
	}
	grows, shrinks := false, false
	for _, v := range s.variants {
		v.fill(s.elements)
		grows, shrinks = grows || v.out.Grows, shrinks || v.out.Shrinks
	}
	for _, v := range s.variants { // what rules do to one of them happens to all
		v.out.Grows, v.out.Shrinks = grows, shrinks
	}
	s.elements, s.read = nil, nil
}
