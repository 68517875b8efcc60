package nftables

import (
	"encoding/binary"
	"slices"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// order is how a number's bytes lie in a register.
type order uint8

const (
	network order = iota // most significant byte first: headers, addresses, ports, names
	host                 // the machine's own: marks, indexes, states
)

// littleEndian: host order differs from network order on this machine.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// swapped is the other order, where there is another.
func (o order) swapped() order {
	if o == network && littleEndian {
		return host
	}
	return network
}

// same reports whether n bytes are the same number in both orders.
func (o order) same(p order, n int) bool { return o == p || n == 1 || !littleEndian }

// number reads bytes as a number; false if there are more than 16.
func (o order) number(b []byte) (exposure.Value, bool) {
	if o == host && littleEndian && len(b) > 1 {
		var r [16]byte
		if len(b) > len(r) {
			return exposure.Value{}, false
		}
		for i, x := range b {
			r[len(b)-1-i] = x
		}
		return exposure.Bytes(r[:len(b)])
	}
	return exposure.Bytes(b)
}

// before is the bytes of the number less one, most significant byte first; zero has none.
func before(b []byte) ([]byte, bool) {
	out := slices.Clone(b)
	for i := len(out) - 1; i >= 0; i-- {
		out[i]--
		if out[i] != 0xff {
			return out, true
		}
	}
	return nil, false
}
