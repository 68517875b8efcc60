package nftables

import (
	"encoding/binary"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Attributes and flags that x/sys/unix lacks.
const (
	elemKeyEnd      = 10 // NFTA_SET_ELEM_KEY_END
	elemExpressions = 11 // NFTA_SET_ELEM_EXPRESSIONS
	elemObject      = 9  // NFTA_SET_ELEM_OBJREF
	elemCatchall    = 2  // NFT_SET_ELEM_CATCHALL
)

// Element is one element of a set. It is made while a message is read and lives no longer: its
// bytes are the message's. To keep a million of them, pack what counts.
type Element struct {
	Key    []byte
	KeyEnd []byte // the last key of a range of concatenated keys
	Data   []byte // of a map
	// Verdict is what a map has for the key, with HasVerdict.
	Verdict    Verdict
	HasVerdict bool
	Flags      uint32 // NFT_SET_ELEM_*
	// Milliseconds are what is left until the element goes by itself, with Expires.
	Milliseconds uint64
	Expires      bool
	Object       string // of a map to objects
	Exprs        []Expr // attached to it: limits, counters
	Comment      string
	// Unread: it has an attribute that is none of these.
	Unread bool
}

// IntervalEnd reports whether the key is the first one behind an interval.
func (e *Element) IntervalEnd() bool { return e.Flags&unix.NFT_SET_ELEM_INTERVAL_END != 0 }

// Catchall reports whether the element stands for all keys that aren't there.
func (e *Element) Catchall() bool { return e.Flags&elemCatchall != 0 }

// Plain reports whether the element is nothing but a key, which may be the end of an interval, and
// a verdict, and may go by itself.
func (e *Element) Plain() bool {
	return e.KeyEnd == nil && e.Data == nil && e.Object == "" && e.Exprs == nil && !e.Unread &&
		e.Flags&^unix.NFT_SET_ELEM_INTERVAL_END == 0
}

// EachElement hands the undecoded elements of a message (NFT_MSG_NEWSETELEM) to a function.
func EachElement(message []byte, each func([]byte) error) error {
	return netlink.Each(message, func(kind uint16, list []byte) error {
		if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			return nil
		}
		return netlink.Each(list, func(_ uint16, element []byte) error { return each(element) })
	})
}

// PlainKey is the key of an element that has nothing else, as almost all do: NFTA_SET_ELEM_KEY
// around NFTA_DATA_VALUE. Without this way around DecodeElement, reading a million takes twice the
// kernel's time.
func PlainKey(b []byte) ([]byte, bool) {
	const headers = 2 * unix.NLA_HDRLEN
	if len(b) < headers || !isAttribute(b, unix.NFTA_SET_ELEM_KEY) ||
		!isAttribute(b[unix.NLA_HDRLEN:], unix.NFTA_DATA_VALUE) {
		return nil, false
	}
	return b[headers:], true
}

// OnlyKey is the key of an element that has nothing else, and whether it is the end of an interval.
func OnlyKey(b []byte) (key []byte, end, ok bool) {
	const flags = unix.NLA_HDRLEN + 4
	if key, ok = PlainKey(b); ok || len(b) <= flags {
		return key, false, ok
	}
	b, last := b[:len(b)-flags], b[len(b)-flags:]
	if !isAttribute(last, unix.NFTA_SET_ELEM_FLAGS) ||
		binary.BigEndian.Uint32(last[unix.NLA_HDRLEN:]) != unix.NFT_SET_ELEM_INTERVAL_END ||
		len(b) < unix.NLA_HDRLEN {
		return nil, false, false
	}
	size := int(binary.NativeEndian.Uint16(b))
	if (size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1) != len(b) || size > len(b) {
		return nil, false, false
	}
	key, ok = PlainKey(b[:size])
	return key, true, ok
}

// isAttribute reports whether the bytes are one attribute of a kind, to the last byte.
func isAttribute(b []byte, kind uint16) bool {
	const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	return binary.NativeEndian.Uint16(b) == uint16(len(b)) &&
		binary.NativeEndian.Uint16(b[2:])&^flags == kind
}

// DecodeElement reads an element.
func DecodeElement(b []byte) (e Element, err error) {
	err = netlink.Each(b, func(kind uint16, data []byte) (err error) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			e.Key, err = dataValue(data)
		case elemKeyEnd:
			e.KeyEnd, err = dataValue(data)
		case unix.NFTA_SET_ELEM_DATA:
			a, err := netlink.Parse(data)
			if err != nil {
				return err
			}
			e.Data = a.Bytes(unix.NFTA_DATA_VALUE)
			if e.HasVerdict = a.Has(unix.NFTA_DATA_VERDICT); e.HasVerdict {
				v, ok := DecodeVerdict(a.Bytes(unix.NFTA_DATA_VERDICT))
				e.Verdict, e.Unread = v, e.Unread || !ok
			}
		case unix.NFTA_SET_ELEM_FLAGS:
			e.Flags = uint32(netlink.Number(data))
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.Milliseconds, e.Expires = netlink.Number(data), true
		case elemObject:
			e.Object = netlink.String(data)
		case unix.NFTA_SET_ELEM_EXPR:
			e.Exprs = append(e.Exprs, DecodeExpr(data))
		case elemExpressions:
			list, err := attached(nil, data)
			e.Exprs = append(e.Exprs, list...)
			return err
		case unix.NFTA_SET_ELEM_USERDATA:
			e.Comment = Comment(data)
		case unix.NFTA_SET_ELEM_TIMEOUT, unix.NFTA_SET_ELEM_PAD:
			// The timeout as it was given; what counts is what is left of it.
		default:
			e.Unread = true
		}
		return err
	})
	return e, err
}

// dataValue is NFTA_DATA_VALUE in a nested attribute.
func dataValue(b []byte) ([]byte, error) {
	a, err := netlink.Parse(b)
	return a.Bytes(unix.NFTA_DATA_VALUE), err
}
