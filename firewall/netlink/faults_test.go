package netlink_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/netlinktest"
	"golang.org/x/sys/unix"
)

// Faults that a kernel rarely has, injected by a fake one.

// answer is one message of a dump: a letter, behind a fixed header of four bytes.
func answer(letter byte, flags uint16) netlink.Message {
	return netlink.Message{Flags: flags, Header: []byte{0, 0, 0, letter}}
}

// end ends a dump.
func end(errno unix.Errno, flags uint16) netlink.Message {
	return netlink.Message{Kind: unix.NLMSG_DONE, Flags: flags, Header: netlinktest.Errno(errno)}
}

var (
	one  = netlink.Request{Kind: 99, Header: make([]byte, 4)}
	dump = netlink.Request{Kind: 99, Flags: unix.NLM_F_DUMP, Header: make([]byte, 4)}
)

// letters asks for a dump and collects its letters; "!" is one that can't be decoded.
func letters(ctx context.Context, c *netlink.Conn) (string, error) {
	var got []byte
	err := c.Ask(ctx, dump, func(m netlink.Message) error {
		if m.Header[3] == '!' {
			return errDamaged
		}
		got = append(got, m.Header[3])
		return nil
	})
	return string(got), err
}

var errDamaged = errors.New("damaged")

// A dump that goes wrong, in any way and any number of times, gives a whole table or an error.
func TestTable(t *testing.T) {
	for name, c := range map[string]struct {
		kernel func(n int) ([]netlink.Message, error)
		want   string
		is     error
		asked  int
	}{
		"at once": {func(int) ([]netlink.Message, error) {
			return []netlink.Message{answer('a', 0), answer('-', 0), answer('b', 0)}, nil
		}, "ab", nil, 1},
		"empty":        {func(int) ([]netlink.Message, error) { return nil, nil }, "", nil, 1},
		"a bad answer": {func(int) ([]netlink.Message, error) { return []netlink.Message{answer('!', 0)}, nil }, "", errDamaged, 1},
		"a short answer": {func(int) ([]netlink.Message, error) {
			return []netlink.Message{{Header: []byte{'a'}}}, nil
		}, "", netlink.ErrMalformed, 1},
		"fails midway": {func(int) ([]netlink.Message, error) {
			return []netlink.Message{answer('a', 0), end(unix.EMSGSIZE, 0)}, nil
		}, "", unix.EMSGSIZE, 1},
		"not allowed": {func(int) ([]netlink.Message, error) { return nil, unix.EPERM }, "", firewall.ErrPermission, 1},
		"interrupted": {func(n int) ([]netlink.Message, error) {
			if n == 0 {
				return []netlink.Message{answer('x', unix.NLM_F_DUMP_INTR)}, nil
			}
			return []netlink.Message{answer('a', 0), answer('b', 0)}, nil
		}, "ab", nil, 2},
		"interrupted, which only the end tells": {func(n int) ([]netlink.Message, error) {
			if n == 0 {
				return []netlink.Message{answer('x', 0), end(0, unix.NLM_F_DUMP_INTR)}, nil
			}
			return []netlink.Message{answer('a', 0)}, nil
		}, "a", nil, 2},
		"overrun twice": {func(n int) ([]netlink.Message, error) {
			if n < 2 {
				return nil, unix.ENOBUFS
			}
			return []netlink.Message{answer('a', 0)}, nil
		}, "a", nil, 3},
		"always interrupted: what was seen comes along": {func(int) ([]netlink.Message, error) {
			return []netlink.Message{answer('a', unix.NLM_F_DUMP_INTR)}, nil
		}, "a", netlink.ErrInterrupted, netlink.Attempts},
		"always overrun": {func(int) ([]netlink.Message, error) { return nil, unix.ENOBUFS }, "", unix.ENOBUFS, netlink.Attempts},
	} {
		asked := 0
		kernel := netlinktest.Kernel(func(netlinktest.Question) ([]netlink.Message, error) {
			asked++
			return c.kernel(asked - 1)
		})
		got, err := netlink.Table(t.Context(), netlink.Dialer(kernel.Dial), unix.NETLINK_ROUTE, one,
			func(m netlink.Message) (byte, bool, error) {
				if m.Header[3] == '!' {
					return 0, false, errDamaged
				}
				return m.Header[3], m.Header[3] != '-', nil
			})
		if !errors.Is(err, c.is) || c.is == nil && err != nil || string(got) != c.want ||
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

// A Pool opens one socket for all tables, and another after one that failed midway.
func TestPool(t *testing.T) {
	asked, dialled := 0, 0
	kernel := netlinktest.Kernel(func(netlinktest.Question) ([]netlink.Message, error) {
		if asked++; asked == 3 {
			return []netlink.Message{{Header: []byte{'a'}}}, nil
		}
		return []netlink.Message{answer('a', 0)}, nil
	})
	pool := netlink.NewPool(
		func(family int) (*netlink.Conn, error) { dialled++; return kernel.Dial(family) },
	)
	for n, want := range []int{1, 1, 1, 2, 2} {
		_, err := netlink.Table(t.Context(), pool, unix.NETLINK_ROUTE, one,
			func(m netlink.Message) (byte, bool, error) { return m.Header[3], true, nil })
		if failed := n == 2; failed != (err != nil) || dialled != want {
			t.Errorf("table %d: %v, %d sockets, want %d", n, err, dialled, want)
		}
	}
	if err := pool.Close(); err != nil {
		t.Error(err)
	}
}

// Only the kernel answers: what another program sends to us is passed over, as are late answers to
// earlier requests, and a read that a signal interrupts goes on.
func TestOnlyTheKernelAnswers(t *testing.T) {
	p := netlinktest.NewPipe()
	c := netlink.New(p)
	const stranger = 4711
	p.Deliver(netlinktest.Datagram(1, answer('x', 0)), stranger, nil)
	p.Deliver(netlinktest.Datagram(0, answer('l', 0)), 0, nil)
	p.Deliver(nil, 0, unix.EINTR)
	p.Deliver(netlinktest.Datagram(1, answer('a', 0)), 0, nil)
	got := ""
	err := c.Ask(
		t.Context(),
		one,
		func(m netlink.Message) error { got += string(m.Header[3]); return nil },
	)
	if err != nil || got != "a" {
		t.Errorf("answered %q, %v", got, err)
	}
	p.Deliver(netlinktest.Datagram(9, answer('x', 0)), stranger, nil)
	if b, err := c.Receive(false); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("a notification of a stranger: %x, %v", b, err)
	}
}

// A datagram that was cut off, or whose messages don't fit it, is not taken for an answer.
func TestMalformedDatagrams(t *testing.T) {
	whole := netlinktest.Datagram(1, answer('a', 0))
	for name, datagram := range map[string][]byte{
		"larger than the buffer":      make([]byte, 33<<10),
		"half a message":              whole[:len(whole)-1],
		"half a header":               whole[:7],
		"half a header behind":        append(slices.Clone(whole), 1, 0, 0, 0),
		"shorter than its own header": append([]byte{15}, make([]byte, 15)...),
	} {
		p := netlinktest.NewPipe()
		c := netlink.New(p)
		p.Deliver(datagram, 0, nil)
		if got, err := letters(t.Context(), c); !errors.Is(err, netlink.ErrMalformed) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A dump that its reader gave up does not get into the next request's answer, nor hold it up.
func TestGivenUpDump(t *testing.T) {
	for name, first := range map[string][]netlink.Message{
		"with more to come": {answer('a', 0), answer('!', 0), answer('c', 0)},
		"at its end":        {answer('a', 0), answer('!', 0)},
	} {
		for _, together := range []bool{false, true} { // with the end in the same datagram
			p := netlinktest.NewPipe()
			c := netlink.New(p)
			all := append(slices.Clone(first), end(0, 0))
			if together {
				p.Deliver(netlinktest.Datagram(1, all...), 0, nil)
			} else {
				for _, m := range all {
					p.Deliver(netlinktest.Datagram(1, m), 0, nil)
				}
			}
			if got, err := letters(t.Context(), c); !errors.Is(err, errDamaged) || got != "a" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			// What the next request is answered stands behind, so what is left must not be waited
			// for.
			p.OnSend = func([]byte) {
				p.Deliver(netlinktest.Datagram(2, answer('d', 0), end(0, 0)), 0, nil)
			}
			if got, err := letters(t.Context(), c); err != nil || got != "d" {
				t.Errorf("%s: afterwards %q, %v", name, got, err)
			}
		}
	}
}

// The end of a context ends a wait, and that of an earlier request's doesn't end the next one.
func TestContextEndsAWait(t *testing.T) {
	p := netlinktest.NewPipe()
	c := netlink.New(p)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := letters(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if _, err := letters(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an ended context: %v", err)
	}
	p.OnSend = func([]byte) {
		time.AfterFunc(
			10*time.Millisecond,
			func() { p.Deliver(netlinktest.Datagram(2, answer('a', 0), end(0, 0)), 0, nil) },
		)
	}
	if got, err := letters(t.Context(), c); err != nil || got != "a" {
		t.Errorf("the next request: %q, %v", got, err)
	}
	if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(true); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline of the caller's own: %v", err)
	}
}

// Whatever the kernel says of a batch, its sender learns what is known of it.
func TestBatch(t *testing.T) {
	// The batch has messages 1 to 3, of which the last one asks for an acknowledgement.
	said := func(sequence uint32, e unix.Errno) []byte {
		return netlinktest.Datagram(sequence, netlink.Message{Kind: unix.NLMSG_ERROR,
			Header: netlinktest.Errno(e), Attributes: make([]byte, unix.NLMSG_HDRLEN)})
	}
	for name, c := range map[string]struct {
		answers [][]byte
		errs    []error // of the reading, before the answers
		is      error
		about   uint32
	}{
		"acknowledged":                 {[][]byte{said(3, 0)}, nil, nil, 0},
		"nothing":                      {nil, nil, netlink.ErrNoAnswer, 0},
		"refused":                      {[][]byte{said(2, unix.ENOENT), said(3, 0)}, nil, unix.ENOENT, 2},
		"refused twice: the first":     {[][]byte{said(1, unix.EEXIST), said(2, unix.ENOENT)}, nil, unix.EEXIST, 1},
		"acknowledges another request": {[][]byte{said(0, 0), said(4, 0)}, nil, netlink.ErrNoAnswer, 0},
		"refuses another request":      {[][]byte{said(0, unix.ENOENT), said(3, 0)}, nil, nil, 0},
		"overrun":                      {[][]byte{said(3, 0)}, []error{unix.ENOBUFS}, netlink.ErrNoAnswer, 0},
		"another generation":           {[][]byte{said(1, unix.ERESTART)}, nil, firewall.ErrConflict, 1},
		"not allowed":                  {[][]byte{said(1, unix.EPERM)}, nil, firewall.ErrPermission, 1},
		"malformed":                    {[][]byte{{1, 2, 3}}, nil, netlink.ErrMalformed, 0},
		"interrupted by a signal":      {[][]byte{said(3, 0)}, []error{unix.EINTR}, nil, 0},
	} {
		p := netlinktest.NewPipe()
		conn := netlink.New(p)
		for _, err := range c.errs {
			p.Deliver(nil, 0, err)
		}
		for _, b := range c.answers {
			p.Deliver(b, 0, nil)
		}
		e := conn.Encoder(nil)
		for range 3 {
			e.End(e.Begin(99, 0, 0, 0, 0, 0))
		}
		err := conn.Batch(e)
		var refusal *netlink.Refusal
		if !errors.Is(err, c.is) || c.is == nil && err != nil ||
			errors.As(err, &refusal) != (c.about != 0) ||
			refusal != nil && refusal.Sequence != c.about {
			t.Errorf("%s: %v, about %+v", name, err, refusal)
		}
	}
}

// Errors are sorted in one place.
func TestErrors(t *testing.T) {
	refused := func(errno unix.Errno) error {
		kernel := netlinktest.Kernel(
			func(netlinktest.Question) ([]netlink.Message, error) { return nil, errno },
		)
		conn, err := kernel.Dial(0)
		if err != nil {
			t.Fatal(err)
		}
		return conn.Ask(t.Context(), one, nil)
	}
	for errno, want := range map[unix.Errno]error{
		unix.EPERM: firewall.ErrPermission, unix.EACCES: firewall.ErrPermission,
		unix.ERESTART: firewall.ErrConflict, unix.ENOENT: unix.ENOENT, unix.EINVAL: unix.EINVAL,
	} {
		if err := refused(errno); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	for errno, absent := range map[unix.Errno][2]bool{ // unsupported, absent
		unix.EPROTONOSUPPORT: {true, true}, unix.EAFNOSUPPORT: {true, true}, unix.EINVAL: {true, true},
		unix.EOPNOTSUPP: {true, true}, unix.ENOENT: {false, true}, unix.ENODEV: {false, true}, unix.EMFILE: {},
	} {
		err := netlink.Unsupported("ipset", errno)
		got := [2]bool{errors.Is(err, firewall.ErrUnsupported), netlink.Absent(errno)}
		if got != absent || !errors.Is(err, errno) ||
			absent[0] && !strings.Contains(err.Error(), "it has no ipset") {
			t.Errorf("%v: %v, %v", errno, err, got)
		}
	}
	if netlink.Explain(nil) != nil || netlink.Unsupported("", nil) != nil || netlink.Absent(nil) {
		t.Error("nil is an error")
	}
	p := netlinktest.NewPipe()
	p.SendError = unix.EMSGSIZE
	if err := netlink.New(p).Ask(t.Context(), one, nil); !errors.Is(err, unix.EMSGSIZE) ||
		!strings.Contains(err.Error(), "wmem_max") {
		t.Errorf("too large a message: %v", err)
	}
}

// nfTables is a ruleset of which the transaction that counts is in use only once it was waited for.
type nfTables struct {
	generation uint32
	settled    bool
	fails      error
}

func (n *nfTables) Generation() (uint32, error) { return n.generation, n.fails }
func (n *nfTables) Settle() error               { n.settled = true; return nil }

func TestOneGeneration(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		read  func(n *nfTables, attempt int) error
		want  error
		reads int
	}{
		"at once":        {func(*nfTables, int) error { return nil }, nil, 1},
		"somebody wrote": {func(n *nfTables, i int) error { n.generation += uint32(max(0, 3-i)); return nil }, nil, 3},
		"torn, says so": {func(_ *nfTables, i int) error {
			return []error{netlink.ErrInterrupted, unix.ENOENT, nil}[min(i-1, 2)]
		}, nil, 3},
		"writes all along":   {func(n *nfTables, _ int) error { n.generation++; return nil }, netlink.ErrInterrupted, 5},
		"fails":              {func(*nfTables, int) error { return boom }, boom, 1},
		"then can't be told": {func(n *nfTables, _ int) error { n.fails = boom; return nil }, boom, 1},
	} {
		n, reads := &nfTables{generation: 7}, 0
		got, err := netlink.OneGeneration(n, 5, func(generation uint32) error {
			if !n.settled || generation != n.generation {
				t.Errorf(
					"%s: read before it was settled, or told %d in generation %d",
					name,
					generation,
					n.generation,
				)
			}
			n.settled = false
			reads++
			return c.read(n, reads)
		})
		if !errors.Is(err, c.want) || c.want == nil && (err != nil || got != n.generation) ||
			reads != c.reads {
			t.Errorf("%s: generation %d, %v, after %d readings", name, got, err, reads)
		}
	}
}
