package address

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The binary form of a set: the number of IPv4 ranges and of IPv6 ranges, each a uvarint, then the
// ranges: their first and their last address, big endian, 8 or 32 bytes together. A set has exactly
// one such form. It has no version of its own: what it is part of has one.
//
// Fixed widths and not differences: reading a million ranges takes some 10 ms, so a booting host
// waits for the kernel alone, and how many there can be is known from the length before anything is
// allocated.

// Sizes of a range's binary form.
const (
	size4 = 8
	size6 = 32
)

// BinarySize is about how long the binary form is, and no less.
func (s Set) BinarySize() int {
	return 2*binary.MaxVarintLen64 + len(s.v4)*size4 + len(s.v6)*size6
}

// AppendBinary appends the set's binary form to b. It never fails; the error is that of
// encoding.BinaryAppender.
func (s Set) AppendBinary(b []byte) ([]byte, error) {
	w := Appender(b)
	err := s.WriteBinary(&w)
	return w, err
}

// Appender is an io.Writer that appends to a slice.
type Appender []byte

func (a *Appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// WriteBinary writes the set's binary form, a piece at a time. The error is w's.
func (s Set) WriteBinary(w io.Writer) error {
	const piece = 32 << 10
	b := make([]byte, 0, min(s.BinarySize(), piece))
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(len(s.v4))), uint64(len(s.v6)))
	flush := func(room int) (err error) {
		if len(b)+room > cap(b) {
			_, err = w.Write(b)
			b = b[:0]
		}
		return err
	}
	for _, r := range s.v4 {
		if err := flush(size4); err != nil {
			return err
		}
		b = binary.BigEndian.AppendUint64(b, uint64(r.First)<<32|uint64(r.Last))
	}
	for _, r := range s.v6 {
		if err := flush(size6); err != nil {
			return err
		}
		for _, half := range [...]uint64{r.First.Hi, r.First.Lo, r.Last.Hi, r.Last.Lo} {
			b = binary.BigEndian.AppendUint64(b, half)
		}
	}
	_, err := w.Write(b)
	return err
}

// Read reads the binary form of a set from the beginning of b and returns what follows it. It
// refuses whatever AppendBinary would not have written.
func Read(b []byte) (s Set, rest []byte, err error) {
	n4, b, err := ReadCount(b)
	if err != nil {
		return Set{}, nil, err
	}
	n6, b, err := ReadCount(b)
	if err != nil {
		return Set{}, nil, err
	}
	// Divided, not multiplied: no count overflows, and none makes us allocate more than there is.
	if n4 > uint64(len(b)/size4) || n6 > (uint64(len(b))-n4*size4)/size6 {
		return Set{}, nil, fmt.Errorf(
			"a set of %d IPv4 and %d IPv6 ranges does not fit the %d bytes there are",
			n4,
			n6,
			len(b),
		)
	}
	v4, err := readRanges(b, int(n4), size4, func(b []byte) Range[V4] {
		both := binary.BigEndian.Uint64(b)
		return Range[V4]{V4(both >> 32), V4(both)}
	})
	if err != nil {
		return Set{}, nil, err
	}
	b = b[n4*size4:]
	v6, err := readRanges(b, int(n6), size6, func(b []byte) Range[V6] {
		half := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
		return Range[V6]{V6{half(0), half(1)}, V6{half(2), half(3)}}
	})
	if err != nil {
		return Set{}, nil, err
	}
	return SetOf(v4, v6), b[n6*size6:], nil
}

// ReadCount reads a number that AppendUvarint has written, and returns what follows it.
func ReadCount(b []byte) (uint64, []byte, error) {
	n, length := binary.Uvarint(b)
	// A last byte of zero adds nothing: the same number has a shorter form.
	if length <= 0 || length > 1 && b[length-1] == 0 {
		return 0, nil, errors.New("a set of addresses does not begin with the number of its ranges")
	}
	return n, b[length:], nil
}

// readRanges reads n ranges in order, for which b is long enough.
func readRanges[N Number[N]](
	b []byte,
	n, size int,
	read func([]byte) Range[N],
) (Ranges[N], error) {
	if n == 0 {
		return nil, nil
	}
	list := make(Ranges[N], n)
	for i := range list {
		r := read(b[i*size:])
		if less(r.Last, r.First) ||
			i > 0 && (!less(list[i-1].First, r.First) || touches(list[i-1], r)) {
			return nil, fmt.Errorf("range %d of a set, %v-%v, is not in order: the set is damaged",
				i+1, r.First.IP(), r.Last.IP())
		}
		list[i] = r
	}
	return list, nil
}
