package lab

import (
	"encoding/binary"
	"sync/atomic"
)

// Extension is an IPv6 extension header of a probe. Data are its bytes; the first, which names the
// next header, is filled in.
type Extension struct {
	Number uint8
	Data   []byte
}

// IPv6 extension headers.
const (
	hopByHop     = 0
	routing      = 43
	fragment     = 44
	authenticate = 51
	options6     = 60
)

// HopByHop is a hop-by-hop header with padding alone (RFC 8200 §4.3).
func HopByHop() Extension { return Extension{hopByHop, []byte{0, 0, 1, 4, 0, 0, 0, 0}} }

// DestinationOptions is a header of destination options with padding alone (RFC 8200 §4.6).
func DestinationOptions() Extension {
	return Extension{options6, []byte{0, 0, 1, 4, 0, 0, 0, 0}}
}

// Routing is a routing header of a type, with no segments left (RFC 8200 §4.4).
func Routing(kind uint8) Extension {
	return Extension{routing, []byte{0, 0, kind, 0, 0, 0, 0, 0}}
}

// Authentication is an authentication header that nobody can check (RFC 4302 §2).
func Authentication(spi uint32) Extension {
	data := make([]byte, 24)
	data[1] = 24/4 - 2 // its length in words of four bytes, less two
	binary.BigEndian.PutUint32(data[4:], spi)
	data[11] = 1 // sequence number
	return Extension{authenticate, data}
}

// fragments counts identifications, so that no two probes' fragments are put together.
var fragments atomic.Uint32

// Fragment is the fragment header of a whole packet (RFC 6946) or, with more, of a packet's first
// fragment. The rest follows in a second one, which only TCP can be cut into.
func Fragment(more bool) Extension {
	data := make([]byte, 8)
	if more {
		data[3] = 1
	}
	return Extension{fragment, data}
}

// Cuts reports whether the header is a first fragment's.
func (h Extension) Cuts() bool { return h.Number == fragment && h.Data[3]&1 != 0 }

// Extended puts extension headers before the transport header of IPv6 probes.
func Extended(headers ...Extension) Option {
	return func(a *settings) { a.extensions = headers }
}

// The data behind a first fragment's TCP header: kernels drop one that is shorter than the least
// frame (IPV6_MIN_MTU). What follows it is in the second fragment.
const (
	firstData  = 1280 - ipv6Size - 8 - tcpSize
	secondData = 8
)

// extend puts extension headers into the frame.
func (t *template) extend(headers []Extension) {
	if !t.six || len(headers) == 0 {
		return
	}
	number := t.frame[t.ip+6]
	var chain, behind []byte // behind the fragment header
	cut := false
	for i, h := range headers {
		data := append([]byte{}, h.Data...)
		data[0] = number
		if i+1 < len(headers) {
			data[0] = headers[i+1].Number
		}
		chain = append(chain, data...)
		if h.Number == fragment {
			binary.BigEndian.PutUint32(data[4:], fragments.Add(1))
		}
		if h.Cuts() {
			cut = true
			t.rest = append(append([]byte{}, t.frame[:t.l4]...), chain...)
		} else if cut {
			behind = append(behind, data...)
		}
	}
	l4 := append(chain, t.frame[t.l4:]...)
	if cut {
		l4 = append(l4, make([]byte, firstData)...)
		t.sum += firstData + secondData // the pseudo-header's length
		at := len(t.rest) - 8
		offset := uint16(len(behind) + tcpSize + firstData)
		binary.BigEndian.PutUint16(t.rest[at+2:], offset) // the last fragment
		t.rest = append(t.rest, make([]byte, secondData)...)
		t.rest[t.ip+6] = headers[0].Number
		binary.BigEndian.PutUint16(t.rest[t.ip+4:], uint16(len(t.rest)-t.l4))
	}
	t.frame = append(append([]byte{}, t.frame[:t.l4]...), l4...)
	t.frame[t.ip+6] = headers[0].Number
	binary.BigEndian.PutUint16(t.frame[t.ip+4:], uint16(len(t.frame)-t.l4))
	t.l4 += len(chain)
}
