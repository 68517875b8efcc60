package netdump

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// kernel answers the n-th dump, from 0 on, with single bytes and flags; an error instead fails the
// dump.
type kernel func(n int) (entries string, flags netlink.HeaderFlags, err error)

func (k kernel) dialer(asked *int) Dialer {
	return func(int) (*netlink.Conn, error) {
		return nltest.Dial(func(requests []netlink.Message) ([]netlink.Message, error) {
			if len(requests) == 0 {
				return nil, nil
			}
			entries, flags, err := k(*asked)
			*asked++
			if err != nil {
				return nil, err
			}
			var out []netlink.Message
			code := make([]byte, 4) // of the end: a dump that fails midway ends with it
			if before, failed := strings.CutSuffix(entries, "?"); failed {
				entries = before
				binary.NativeEndian.PutUint32(code, ^uint32(unix.EMSGSIZE)+1)
			}
			for _, b := range []byte(entries) {
				out = append(
					out,
					netlink.Message{Header: netlink.Header{Flags: netlink.Multi | flags}, Data: []byte{b}},
				)
			}
			out = append(
				out,
				netlink.Message{Header: netlink.Header{Type: netlink.Done, Flags: netlink.Multi}, Data: code},
			)
			for i := range out {
				out[i].Header.Sequence = requests[0].Header.Sequence
			}
			return out, nil
		}), nil
	}
}

func TestTable(t *testing.T) {
	damaged := errors.New("damaged")
	for name, c := range map[string]struct {
		kernel kernel
		want   string
		is     error
		asked  int
	}{
		"at once":      {func(int) (string, netlink.HeaderFlags, error) { return "a-b", 0, nil }, "ab", nil, 1},
		"empty":        {func(int) (string, netlink.HeaderFlags, error) { return "", 0, nil }, "", nil, 1},
		"a bad answer": {func(int) (string, netlink.HeaderFlags, error) { return "a!b", 0, nil }, "", damaged, 1},
		"fails midway": {func(int) (string, netlink.HeaderFlags, error) { return "ab?", 0, nil }, "", unix.EMSGSIZE, 1},
		"not allowed":  {func(int) (string, netlink.HeaderFlags, error) { return "", 0, unix.EPERM }, "", firewall.ErrPermission, 1},
		"interrupted once": {func(n int) (string, netlink.HeaderFlags, error) {
			if n == 0 {
				return "a", netlink.DumpInterrupted, nil
			}
			return "ab", 0, nil
		}, "ab", nil, 2},
		"overrun twice": {func(n int) (string, netlink.HeaderFlags, error) {
			if n < 2 {
				return "", 0, unix.ENOBUFS
			}
			return "ab", 0, nil
		}, "ab", nil, 3},
		"always interrupted: what was seen comes along": {func(int) (string, netlink.HeaderFlags, error) { return "a", netlink.DumpInterrupted, nil }, "a", ErrInterrupted, Attempts},
		"always overrun": {func(int) (string, netlink.HeaderFlags, error) { return "", 0, unix.ENOBUFS }, "", unix.ENOBUFS, Attempts},
	} {
		asked := 0
		got, err := Table(
			t.Context(),
			c.kernel.dialer(&asked),
			unix.NETLINK_ROUTE,
			netlink.Message{},
			func(b []byte) (byte, bool, error) {
				if b[0] == '!' {
					return 0, false, damaged
				}
				return b[0], b[0] != '-', nil
			},
		)
		if !errors.Is(err, c.is) || c.is == nil && err != nil || !slices.Equal(got, []byte(c.want)) ||
			asked != c.asked {
			t.Errorf(
				"%s: got %q, %v after %d dumps; want %q, %v after %d",
				name,
				got,
				err,
				asked,
				c.want,
				c.is,
				c.asked,
			)
		}
	}
}

func TestTableCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	asked := 0
	_, err := Table(
		ctx,
		kernel(nil).dialer(&asked),
		0,
		netlink.Message{},
		func([]byte) (byte, bool, error) { return 0, false, nil },
	)
	if !errors.Is(err, context.Canceled) || asked != 0 {
		t.Errorf("%v after %d dumps", err, asked)
	}
}

func TestAttributes(t *testing.T) {
	for name, b := range map[string][]byte{"too long": {9, 0, 1, 0}, "too short": {3, 0, 1, 0}} {
		if err := Attributes(b, func(uint16, []byte) error { return nil }); !errors.Is(
			err,
			ErrTruncated,
		) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var kinds []uint16
	err := Attributes(
		[]byte{4, 0, 1, 0x80, 5, 0, 2, 0x40, 7, 0, 0, 0},
		func(kind uint16, _ []byte) error { kinds = append(kinds, kind); return nil },
	)
	if err != nil || !slices.Equal(kinds, []uint16{1, 2}) {
		t.Errorf("got %v, %v", kinds, err)
	}
}

// A Pool opens one socket for all tables, and another after one that failed midway.
func TestPool(t *testing.T) {
	asked, dialled := 0, 0
	inner := kernel(func(n int) (string, netlink.HeaderFlags, error) {
		if n == 2 {
			return "a!b", 0, nil
		}
		return "ab", 0, nil
	}).dialer(&asked)
	pool := NewPool(func(family int) (*netlink.Conn, error) { dialled++; return inner(family) })
	for n, want := range []int{1, 1, 1, 2, 2} {
		got, err := Table(
			t.Context(),
			pool,
			unix.NETLINK_ROUTE,
			netlink.Message{},
			func(b []byte) (byte, bool, error) {
				if b[0] == '!' {
					return 0, false, ErrTruncated
				}
				return b[0], true, nil
			},
		)
		if failed := n == 2; failed != (err != nil) || !failed && string(got) != "ab" || dialled != want {
			t.Errorf("table %d: %q, %v, %d sockets, want %d", n, got, err, dialled, want)
		}
	}
	if err := pool.Close(); err != nil || len(pool.idle) != 0 {
		t.Errorf("%v, %d left", err, len(pool.idle))
	}
}
