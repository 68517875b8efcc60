package netlink

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

// Defences against what the real kernel does, each in a network namespace of the test's own.

func dialed(t *testing.T, dial Dialer, family int) *Conn {
	t.Helper()
	c, err := dial(family)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// own opens the calling thread's network namespace.
func own(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func inode(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// A Dialer of another namespace opens its sockets there, a plain one here, and the caller stays
// where it was. A socket elsewhere than it should be is noticed and closed.
func TestNamespaces(t *testing.T) {
	backendtest.Isolate(t)
	there := own(t)
	before := dialed(t, Dial, unix.NETLINK_NETFILTER)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	here := own(t)
	if inode(t, here) == inode(t, there) {
		t.Fatal("still in the same namespace")
	}
	for _, family := range []int{
		unix.NETLINK_SOCK_DIAG, unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER,
	} {
		for _, c := range []struct {
			dial Dialer
			want *os.File
		}{{In(there), there}, {Dial, here}, {In(here), here}, {DialUnpolled, here}} {
			conn := dialed(t, c.dial, family)
			at, err := conn.namespace()
			if err != nil || at != inode(t, c.want) {
				t.Errorf(
					"family %d: the socket is in %d, %v; want %d",
					family,
					at,
					err,
					inode(t, c.want),
				)
			}
		}
	}
	if inode(t, own(t)) != inode(t, here) {
		t.Error("the caller was moved")
	}

	conn := dialed(t, Dial, unix.NETLINK_ROUTE)
	if err := conn.requireNamespace(inode(t, there)); err == nil ||
		!strings.Contains(err.Error(), "the socket is in") {
		t.Errorf("a socket that is elsewhere: %v", err)
	}
	if _, err := conn.Port(); err == nil {
		t.Error("a socket that is elsewhere is still open")
	}
	if more, err := before.Another(); err == nil {
		t.Errorf("another socket in this namespace: %+v", more)
	}
	if err := before.Redial(); err == nil {
		t.Error("a dump goes on in another namespace")
	}
	if _, err := before.Port(); err != nil {
		t.Errorf("the socket is lost: %v", err)
	}
}

func TestNamespaceThatIsNone(t *testing.T) {
	backendtest.Isolate(t)
	ordinary, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ordinary.Close() }()
	closed := own(t)
	_ = closed.Close()
	for name, f := range map[string]*os.File{"no namespace": ordinary, "closed": closed} {
		if conn, err := In(f)(unix.NETLINK_ROUTE); err == nil {
			t.Errorf("%s: a socket", name)
			_ = conn.Close()
		}
	}
}

// A message from another program is refused, even if it claims to be the kernel's.
func TestForgedAnswer(t *testing.T) {
	backendtest.Isolate(t)
	c, forger := dialed(t, Dial, unix.NETLINK_ROUTE), dialed(t, Dial, unix.NETLINK_ROUTE)
	port, err := c.Port()
	if err != nil {
		t.Fatal(err)
	}
	e := Encoder{Sequence: c.NextSequence()}
	at := e.Begin(unix.RTM_NEWLINK, 0, make([]byte, unix.SizeofIfInfomsg)...)
	e.String(unix.IFLA_IFNAME, "forged")
	e.End(at)
	if err := forger.Control(func(fd int) error {
		return unix.Sendto(fd, e.Buf, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port})
	}); err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := c.Ask(t.Context(), links(0), func(m Message) error {
		a, err := Parse(m.Attributes)
		names = append(names, a.String(unix.IFLA_IFNAME))
		return err
	}); err != nil || len(names) != 1 || names[0] != "lo" {
		t.Errorf("links %v, %v", names, err)
	}
}

func links(index byte) Request {
	header := make([]byte, unix.SizeofIfInfomsg)
	header[4] = index
	return Request{Kind: unix.RTM_GETLINK, Flags: unix.NLM_F_DUMP, Header: header}
}

// The kernel checks what it is asked, and what it says of an error is passed on.
func TestTheKernelsOwnWords(t *testing.T) {
	backendtest.Isolate(t)
	err := dialed(t, Dial, unix.NETLINK_ROUTE).Ask(t.Context(), links(200), nil)
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "(") {
		t.Errorf("an interface index, which dumps don't take: %v", err)
	}
}

// A refusal does not repeat the request, which may be larger than the buffer.
func TestRefusalOfALargeRequest(t *testing.T) {
	backendtest.Isolate(t)
	c := dialed(t, Dial, unix.NETLINK_NETFILTER)
	request := Netfilter(
		unix.NFNL_SUBSYS_NFTABLES,
		unix.NFT_MSG_GETTABLE,
		unix.NFPROTO_INET,
		unix.NLM_F_ACK,
		func(e *Encoder) {
			e.String(unix.NFTA_TABLE_NAME, "none")
			e.Bytes(100, make([]byte, receiveBuffer)) // which the kernel passes over
		},
	)
	if err := c.Ask(t.Context(), request, nil); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a table that isn't there: %v", err)
	}
}

// The kernel begins no dump on a socket on which another is under way. One that was given up is
// read to its end, or left behind with its socket.
func TestDumpAfterOneThatWasGivenUp(t *testing.T) {
	backendtest.Isolate(t)
	const addresses = 2000
	var script strings.Builder
	for i := range addresses {
		fmt.Fprintf(&script, "address add 10.0.%d.%d/32 dev lo\n", i>>8, i&255)
	}
	backendtest.Program(t, script.String(), "ip", "-batch", "-")
	c := dialed(t, Dial, unix.NETLINK_ROUTE)
	stop := errors.New("stop")
	request := Request{
		Kind:   unix.RTM_GETADDR,
		Flags:  unix.NLM_F_DUMP,
		Header: make([]byte, unix.SizeofIfAddrmsg),
	}
	for _, redial := range []bool{false, true} {
		if err := c.Ask(t.Context(), request, func(Message) error { return stop }); !errors.Is(
			err,
			stop,
		) {
			t.Fatal(err)
		}
		if redial {
			if err := c.Redial(); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		if err := c.Ask(t.Context(), request, func(Message) error { n++; return nil }); err != nil ||
			n != addresses {
			t.Errorf("redial %v: %d addresses, %v", redial, n, err)
		}
	}
}

// Buffers go beyond the system's limits, which hold a batch of any size.
func TestBuffers(t *testing.T) {
	backendtest.Isolate(t)
	c := dialed(t, Dial, unix.NETLINK_NETFILTER)
	const size = 64 << 20
	if err := c.SetBuffers(size, size); err != nil {
		t.Fatal(err)
	}
	if err := c.Control(func(fd int) error {
		for _, option := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
			if n, err := unix.GetsockoptInt(
				fd, unix.SOL_SOCKET, option,
			); err != nil || n != 2*size {
				t.Errorf("option %d: %d, %v", option, n, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	e := repaint(c, nil, "big", 100_000)
	if len(e.Buf) < 1<<20 {
		t.Fatalf("%d bytes are not much", len(e.Buf))
	}
	if err := c.Batch(e); err != nil {
		t.Errorf("a batch of %d bytes: %v", len(e.Buf), err)
	}
	small := dialed(t, Dial, unix.NETLINK_NETFILTER)
	if err := small.Batch(repaint(small, nil, "big", 100_000)); !errors.Is(err, unix.EMSGSIZE) ||
		!strings.Contains(err.Error(), "wmem_max") {
		t.Errorf("the same over a usual socket: %v", err)
	}
}

// repaint is the transaction that makes table t anew, with a set that is named by a colour and has
// so many elements.
func repaint(c *Conn, memory []byte, colour string, elements int) *Encoder {
	e := c.Encoder(memory)
	message := func(kind, flags uint16, attributes func()) {
		at := e.Begin(
			unix.NFNL_SUBSYS_NFTABLES<<8|kind,
			flags,
			unix.NFPROTO_INET,
			unix.NFNETLINK_V0,
			0,
			0,
		)
		attributes()
		e.End(at)
	}
	e.BatchMarker(unix.NFNL_MSG_BATCH_BEGIN, unix.NFNL_SUBSYS_NFTABLES, 0, 0)
	name := func() { e.String(unix.NFTA_TABLE_NAME, "t") }
	message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, name)
	message(unix.NFT_MSG_DELTABLE, 0, name)
	message(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, name)
	message(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, func() {
		e.String(unix.NFTA_SET_TABLE, "t")
		e.String(unix.NFTA_SET_NAME, colour)
		e.Uint32(unix.NFTA_SET_KEY_LEN, 4)
		e.Uint32(unix.NFTA_SET_ID, 1)
		desc := e.Nest(unix.NFTA_SET_DESC)
		e.Uint32(unix.NFTA_SET_DESC_SIZE, uint32(elements)) // so that it is never sorted anew
		e.EndNest(desc)
	})
	const inMessage = 1000
	for first := 0; first < elements; first += inMessage {
		message(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, func() {
			e.String(unix.NFTA_SET_ELEM_LIST_TABLE, "t")
			e.String(unix.NFTA_SET_ELEM_LIST_SET, colour)
			list := e.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
			for i := first; i < min(elements, first+inMessage); i++ {
				element, key := e.Nest(unix.NFTA_LIST_ELEM), e.Nest(unix.NFTA_SET_ELEM_KEY)
				e.Uint32(unix.NFTA_DATA_VALUE, uint32(i))
				e.EndNest(key)
				e.EndNest(element)
			}
			e.EndNest(list)
		})
	}
	e.BatchMarker(unix.NFNL_MSG_BATCH_END, unix.NFNL_SUBSYS_NFTABLES, unix.NLM_F_ACK, 0)
	return e
}

// Settling counts as no transaction, and its answer is not waited for. (That readings are torn
// without it is shown by TestOneGeneration of packages nft and xt.)
func TestSettle(t *testing.T) {
	backendtest.Isolate(t)
	c := dialed(t, Dial, unix.NETLINK_NETFILTER)
	rules := c.Ruleset(t.Context())
	before, err := rules.Generation()
	if err != nil {
		t.Fatal(err)
	}
	if err := rules.Settle(); err != nil {
		t.Fatal(err)
	}
	if b, err := c.Receive(false); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the kernel answers %x, %v", b, err)
	}
	if after, err := rules.Generation(); err != nil || after != before {
		t.Errorf("generation %d became %d, %v", before, after, err)
	}
	if err := c.Batch(repaint(c, nil, "red", 1)); err != nil {
		t.Fatal(err)
	}
	if after, err := rules.Generation(); err != nil || after != before+1 {
		t.Errorf("after a transaction, generation %d became %d, %v", before, after, err)
	}
}

// A socket without the poller asks and hears; out of the group it hears nothing.
func TestGroup(t *testing.T) {
	backendtest.Isolate(t)
	c, writer := dialed(
		t,
		DialUnpolled,
		unix.NETLINK_NETFILTER,
	), dialed(
		t,
		Dial,
		unix.NETLINK_NETFILTER,
	)
	port, err := writer.Port()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ruleset(t.Context()).Generation(); err != nil {
		t.Errorf("asking: %v", err)
	}
	commits := func() (n int) {
		if err := writer.Batch(repaint(writer, nil, "red", 10)); err != nil {
			t.Fatal(err)
		}
		for {
			datagram, err := c.Receive(true)
			if errors.Is(err, unix.EAGAIN) {
				return n
			}
			if err == nil {
				err = Notifications(datagram, unix.NFNL_SUBSYS_NFTABLES, func(m Message) error {
					if m.Kind&0xff == unix.NFT_MSG_NEWGEN && m.Port == port {
						n++
					}
					return nil
				})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct {
		change func(int) error
		want   int
	}{{c.Join, 1}, {c.Leave, 0}} {
		if err := step.change(unix.NFNLGRP_NFTABLES); err != nil {
			t.Fatal(err)
		}
		if n := commits(); n != step.want {
			t.Errorf("heard %d commits, want %d", n, step.want)
		}
	}
	listening := dialed(t, Dial, unix.NETLINK_ROUTE)
	if err := listening.Join(unix.RTNLGRP_IPV4_IFADDR); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, func() { _ = listening.Close() })
	if _, err := listening.Receive(true); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closing: %v", err)
	}
}

// Without rights the error says so.
func TestNotAllowed(t *testing.T) {
	backendtest.Isolate(t)
	ns, done := own(t), make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with what it gave up
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		// The raw call changes this thread alone; unix.Setresuid changes the process.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			done <- errno
			return
		}
		c, err := Dial(unix.NETLINK_NETFILTER)
		if err == nil {
			_, err = c.Ruleset(t.Context()).Generation()
			_ = c.Close()
		}
		if !errors.Is(err, firewall.ErrPermission) {
			done <- fmt.Errorf("asking: %w", err)
			return
		}
		_, err = In(ns)(unix.NETLINK_ROUTE)
		done <- err
	}()
	if err := <-done; !errors.Is(err, firewall.ErrPermission) {
		t.Errorf("entering: %v", err)
	}
}
