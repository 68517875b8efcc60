package netlink

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// One rule for malformed input, wherever attributes are read.
func TestMalformedAttributes(t *testing.T) {
	whole := AppendString(AppendBytes(nil, 3|unix.NLA_F_NESTED, []byte{7}), 5, "eth0")
	for name, c := range map[string]struct {
		b         []byte
		malformed bool
	}{
		"none":                         {nil, false},
		"two, padded":                  {whole, false},
		"the last one without padding": {[]byte{5, 0, 1, 0, 9}, false},
		"longer than what holds it":    {[]byte{9, 0, 1, 0}, true},
		"shorter than its header":      {[]byte{3, 0, 1, 0}, true},
		"of no length":                 {[]byte{0, 0, 1, 0}, true},
		"half a header behind":         {append(slices.Clone(whole), 4, 0), true},
		"more than a message holds":    {make([]byte, maxAttribute+1), true},
	} {
		seen := 0
		err := Each(c.b, func(uint16, []byte) error { seen++; return nil })
		_, perr := Parse(c.b)
		if errors.Is(err, ErrMalformed) != c.malformed ||
			errors.Is(perr, ErrMalformed) != c.malformed {
			t.Errorf("%s: %v, %v, after %d attributes", name, err, perr, seen)
		}
	}
	a, err := Parse(whole)
	if err != nil || !a.Has(3) || a.Has(4) || a.Number(3) != 7 || a.String(5) != "eth0" ||
		a.Bytes(4) != nil {
		t.Errorf("%+v, %v", a, err)
	}
	stop := errors.New("stop")
	if err := Each(whole, func(uint16, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the reader's own error: %v", err)
	}
}

func TestNative(t *testing.T) {
	for n, want := range map[int]uint64{
		0: 0,
		1: 1,
		2: 0x101,
		3: 0,
		4: 0x1010101,
		8: 0x101010101010101,
	} {
		if got := Native(slices.Repeat([]byte{1}, n)); got != want {
			t.Errorf("%d bytes: %#x", n, got)
		}
	}
}

// What is encoded decodes to the same, and an attribute that overflows its length is never sent.
func TestEncoder(t *testing.T) {
	e := Encoder{Sequence: 7}
	at := e.Begin(unix.RTM_GETLINK, unix.NLM_F_DUMP, 1, 2, 3, 4)
	nest := e.Nest(1)
	e.Uint8(1, 1)
	e.Uint16(2, 2)
	e.Uint32(3, 3)
	e.Uint64(4, 4)
	e.String(5, "five")
	e.EndNest(nest)
	e.End(at)
	_, err := messages(e.Buf, func(h header, data []byte) (bool, error) {
		m, err := h.message(data, 4)
		if err != nil || h.sequence != 7 || m.Kind != unix.RTM_GETLINK ||
			m.Flags != unix.NLM_F_DUMP|unix.NLM_F_REQUEST {
			t.Errorf("%+v, %+v, %v", h, m, err)
		}
		outer, err := Parse(m.Attributes)
		if err != nil {
			return false, err
		}
		a, err := Parse(outer.Bytes(1))
		for kind := 1; kind <= 4; kind++ {
			if a.Number(kind) != uint64(kind) {
				t.Errorf("attribute %d: %x", kind, a.Bytes(kind))
			}
		}
		if a.String(5) != "five" {
			t.Errorf("attribute 5: %x", a.Bytes(5))
		}
		return false, err
	})
	if err != nil || e.Sequence != 8 {
		t.Errorf("%v, the next is %d", err, e.Sequence)
	}
}

func TestAttributeThatOverflows(t *testing.T) {
	for name, write := range map[string]func(*Encoder){
		"bytes":  func(e *Encoder) { e.Bytes(1, make([]byte, 1<<16-4)) },
		"string": func(e *Encoder) { e.String(1, strings.Repeat("x", 1<<16-5)) },
		"nested": func(e *Encoder) {
			at := e.Nest(1)
			e.Bytes(1, make([]byte, 40_000))
			e.Bytes(2, make([]byte, 40_000))
			e.EndNest(at)
		},
	} {
		c := New(nil) // nothing is sent
		e := c.Encoder(nil)
		e.Begin(1, 0)
		write(e)
		if err := c.Send(e); !errors.Is(err, errTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The end of a dump and a refusal carry an error, and the kernel's own words.
func TestErrorOf(t *testing.T) {
	number := func(e unix.Errno) []byte {
		return binary.NativeEndian.AppendUint32(nil, uint32(-int32(e)))
	}
	words := AppendString(nil, unix.NLMSGERR_ATTR_MSG, "no such table")
	for name, c := range map[string]struct {
		h    header
		data []byte
		want error
		says string
	}{
		"whole":                    {header{kind: unix.NLMSG_DONE}, number(0), nil, ""},
		"of an old kernel":         {header{kind: unix.NLMSG_DONE}, nil, nil, ""},
		"failed midway":            {header{kind: unix.NLMSG_DONE}, number(unix.ENOENT), unix.ENOENT, ""},
		"failed, with words":       {header{kind: unix.NLMSG_DONE, flags: unix.NLM_F_ACK_TLVS}, slices.Concat(number(unix.EMSGSIZE), words), unix.EMSGSIZE, "(no such table)"},
		"acknowledged":             {header{kind: unix.NLMSG_ERROR}, number(0), nil, ""},
		"refused":                  {header{kind: unix.NLMSG_ERROR}, number(unix.EBUSY), unix.EBUSY, ""},
		"refused, with words":      {header{kind: unix.NLMSG_ERROR, flags: unix.NLM_F_ACK_TLVS}, slices.Concat(number(unix.ENOENT), make([]byte, unix.NLMSG_HDRLEN), words), unix.ENOENT, "(no such table)"},
		"refused, words cut off":   {header{kind: unix.NLMSG_ERROR, flags: unix.NLM_F_ACK_TLVS}, number(unix.ENOENT), unix.ENOENT, ""},
		"refused without a reason": {header{kind: unix.NLMSG_ERROR}, nil, ErrMalformed, ""},
	} {
		err := errorOf(c.h, c.data)
		if !errors.Is(err, c.want) || c.want == nil && err != nil ||
			c.says != "" && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whatever comes, nothing panics, and no slice reaches beyond what it is in.
func FuzzMessages(f *testing.F) {
	var e Encoder
	at := e.Begin(unix.NFNL_SUBSYS_NFTABLES<<8, 0, 0, 0, 0, 0)
	e.String(1, "filter")
	e.End(at)
	f.Add(e.Buf)
	f.Add(e.Buf[:len(e.Buf)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := messages(b, func(h header, data []byte) (bool, error) {
			_ = errorOf(h, data)
			m, err := h.message(data, NetfilterHeader)
			if err != nil {
				return false, err
			}
			a, err := Parse(m.Attributes)
			n := 0
			werr := Each(m.Attributes, func(kind uint16, data []byte) error {
				n += len(data) + unix.NLA_HDRLEN
				if kind < 32 && !a.Has(int(kind)) && err == nil {
					t.Errorf("attribute %d is missing", kind)
				}
				return nil
			})
			if (err == nil) != (werr == nil) && len(m.Attributes) <= maxAttribute ||
				n > len(m.Attributes) {
				t.Errorf("%v, %v, %d bytes of %d", err, werr, n, len(m.Attributes))
			}
			return false, err
		})
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%v", err)
		}
	})
}
