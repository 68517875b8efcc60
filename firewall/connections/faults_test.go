package connections

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/inetdiag"
	"github.com/portgrave/portgrave/firewall/netlink/netlinktest"
	"golang.org/x/sys/unix"
)

// fake is a kernel that answers from memory and fails on demand.
type fake struct {
	answer netlinktest.Kernel
	dials  int
}

func (f *fake) dial(family int) (*netlink.Conn, error) {
	f.dials++
	return f.answer.Dial(family)
}

// subsystem names what a request asks.
func subsystem(q netlinktest.Question) string {
	switch {
	case q.Family == unix.NETLINK_SOCK_DIAG && q.Kind == unix.SOCK_DESTROY:
		return "destroy"
	case q.Family == unix.NETLINK_SOCK_DIAG && q.Kind != unix.SOCK_DIAG_BY_FAMILY:
		return "tcp"
	case q.Family == unix.NETLINK_SOCK_DIAG:
		return map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[q.Data[1]] + map[byte]string{unix.AF_INET: "4", unix.AF_INET6: "6"}[q.Data[0]]
	case q.Family == unix.NETLINK_NETFILTER:
		return map[uint16]string{
			ctNew:    "tombstone",
			ctGet:    "conntrack",
			ctDelete: "delete",
		}[q.Kind&0xff]
	case q.Dumps():
		return "addresses"
	}
	return "route"
}

// answers is a healthy host with one client connected, listener included; broken replaces single
// answers.
func answers(broken func(what string) ([]netlink.Message, error, bool)) *fake {
	f := &fake{}
	f.answer = func(q netlinktest.Question) ([]netlink.Message, error) {
		what := subsystem(q)
		if broken != nil {
			if m, err, is := broken(what); is {
				return m, err
			}
		}
		switch what {
		case "tcp":
			return []netlink.Message{
				{
					Header: diagMessage(
						unix.AF_INET,
						unix.BPF_TCP_LISTEN,
						"0.0.0.0:9090",
						"0.0.0.0:0",
						1,
					),
				},
				{
					Header: diagMessage(
						unix.AF_INET,
						unix.BPF_TCP_ESTABLISHED,
						at(host4, 9090),
						at(client4, 1234),
						77,
					),
				},
			}, nil
		case "addresses":
			if q.Data[0] == unix.AF_INET {
				return []netlink.Message{{Header: rtmsg(unix.AF_INET, 32, unix.RTN_LOCAL, 0),
					Attributes: netlink.AppendBytes(
						nil,
						unix.RTA_DST,
						netip.MustParseAddr(host4).AsSlice(),
					)}}, nil
			}
		}
		return nil, nil
	}
	return f
}

func diagMessage(family, state uint8, local, remote string, inode uint32) []byte {
	b := make([]byte, inetdiag.MessageLen)
	b[0], b[1] = family, state
	put := func(at int, port int, a netip.AddrPort) {
		copy(b[at:], a.Addr().AsSlice())
		b[port], b[port+1] = byte(a.Port()>>8), byte(a.Port())
	}
	put(8, 4, netip.MustParseAddrPort(local))
	put(24, 6, netip.MustParseAddrPort(remote))
	b[inetdiag.MessageLen-4] = byte(inode)
	return b
}

var proc = fstest.MapFS{
	"12/comm": {Data: []byte("sshd\n")},
	"12/fd/3": {Data: []byte("socket:[77]"), Mode: 0o777 | 1<<27}, // fs.ModeSymlink
	"9/fd/x":  {},
	"self":    {},
}

func TestFaults(t *testing.T) {
	want := firewall.Connection{
		Protocol: firewall.TCP,
		Client:   netip.MustParseAddrPort(at(client4, 1234)),
		Dialled:  netip.MustParseAddrPort(at(host4, 9090)),
	}
	fails := func(on string, err error) func(string) ([]netlink.Message, error, bool) {
		return func(what string) ([]netlink.Message, error, bool) { return nil, err, what == on }
	}
	times := func(n int, on string, m []netlink.Message, err error) func(string) ([]netlink.Message, error, bool) {
		return func(what string) ([]netlink.Message, error, bool) {
			if what != on || n == 0 {
				return nil, nil, false
			}
			n--
			return slices.Clone(m), err, true
		}
	}
	interrupted := []netlink.Message{
		{
			Flags:  unix.NLM_F_DUMP_INTR,
			Header: diagMessage(unix.AF_INET, unix.BPF_TCP_LISTEN, "0.0.0.0:1", "0.0.0.0:0", 1),
		},
	}
	short := []netlink.Message{{Header: make([]byte, inetdiag.MessageLen-1)}}
	for name, c := range map[string]struct {
		broken func(string) ([]netlink.Message, error, bool)
		is     error // nil: the connection is listed all the same
	}{
		"healthy":                  {nil, nil},
		"no conntrack: EINVAL":     {fails("conntrack", unix.EINVAL), nil},
		"no conntrack: ENOENT":     {fails("conntrack", unix.ENOENT), nil},
		"no netfilter netlink":     {fails("conntrack", unix.EPROTONOSUPPORT), nil},
		"no udp_diag":              {fails("udp4", unix.ENOENT), nil},
		"no IPv6":                  {fails("udp6", unix.EAFNOSUPPORT), nil},
		"no route":                 {fails("route", unix.ENETUNREACH), nil},
		"one interrupted dump":     {times(1, "tcp", interrupted, nil), nil},
		"one overrun":              {times(2, "conntrack", nil, unix.ENOBUFS), nil},
		"no tcp_diag":              {fails("tcp", unix.ENOENT), unix.ENOENT},
		"always interrupted":       {times(-1, "tcp", interrupted, nil), netlink.ErrInterrupted},
		"always overrun":           {fails("addresses", unix.ENOBUFS), unix.ENOBUFS},
		"conntrack not allowed":    {fails("conntrack", unix.EPERM), firewall.ErrPermission},
		"sockets not allowed":      {fails("tcp", unix.EACCES), firewall.ErrPermission},
		"a short socket":           {times(-1, "tcp", short, nil), netlink.ErrMalformed},
		"a short entry":            {times(-1, "conntrack", []netlink.Message{{Header: []byte{2}}}, nil), netlink.ErrMalformed},
		"a short route":            {times(-1, "addresses", []netlink.Message{{Header: []byte{2}}}, nil), netlink.ErrMalformed},
		"damaged entry attributes": {times(-1, "conntrack", []netlink.Message{{Header: []byte{2, 0, 0, 0, 99, 0, 1, 0}}}, nil), netlink.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			k := &Kernel{dial: answers(c.broken).dial, proc: proc}
			got, err := k.List(t.Context())
			switch {
			case c.is == nil && (err != nil || len(got) != 1 || got[0] != want):
				t.Errorf("listed %+v, %v; want %+v", got, err, want)
			case c.is != nil && (!errors.Is(err, c.is) || got != nil):
				t.Errorf("listed %+v, %v; want the error %v", got, err, c.is)
			case c.is != nil && !strings.HasPrefix(err.Error(), "listing "):
				t.Errorf("the error does not say what failed: %v", err)
			}
		})
	}
}

// TestEmptyConntrackIsNotWalked: a table without entries is not walked; one that has some is, and
// one of which nobody tells.
func TestEmptyConntrackIsNotWalked(t *testing.T) {
	for count, walks := range map[string]bool{"0\n": false, "1\n": true, "10\n": true, "": true} {
		walked := false
		k := &Kernel{
			proc: maps.Clone(proc),
			dial: answers(func(what string) ([]netlink.Message, error, bool) {
				walked = walked || what == "conntrack"
				return nil, nil, false
			}).dial,
		}
		if count != "" {
			k.proc.(fstest.MapFS)["sys/net/netfilter/nf_conntrack_count"] = &fstest.MapFile{
				Data: []byte(count),
			}
		}
		if got, err := k.List(t.Context()); err != nil || len(got) != 1 || walked != walks {
			t.Errorf("%q entries: walked: %v; listed %+v, %v", count, walked, got, err)
		}
	}
}

// TestNamesOfOwners: of what was listed, and of nothing else.
func TestNamesOfOwners(t *testing.T) {
	k := &Kernel{dial: answers(nil).dial, proc: proc}
	list, err := k.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stranger := firewall.Connection{
		Protocol: firewall.TCP,
		Client:   netip.MustParseAddrPort(at(client4, 4321)),
		Dialled:  list[0].Dialled,
	}
	all := append(list, stranger)
	if k.NameOwners(t.Context(), all); all[0].Owner != "sshd" || all[1].Owner != "" {
		t.Errorf("owners %q and %q", all[0].Owner, all[1].Owner)
	}
}

func TestEndFaults(t *testing.T) {
	for name, c := range map[string]struct {
		answer, is error
	}{
		"done": {nil, nil}, "gone": {unix.ENOENT, nil}, "replaced": {unix.ESTALE, nil},
		"not built in": {unix.EOPNOTSUPP, ErrNoDestroy}, "not allowed": {unix.EPERM, firewall.ErrPermission},
	} {
		k := &Kernel{
			dial: answers(
				func(what string) ([]netlink.Message, error, bool) {
					return nil, c.answer, what == "destroy"
				},
			).dial,
			proc: proc,
		}
		list, err := k.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := k.End(t.Context(), list[0]); !errors.Is(err, c.is) || c.is == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.is)
		}
	}
	listener := inetdiag.Socket{
		Protocol: firewall.TCP,
		Local:    netip.MustParseAddrPort("0.0.0.0:9090"),
	}
	f := answers(nil)
	if err := destroy(t.Context(), f.dial, listener); err == nil || f.dials != 0 {
		t.Errorf("a listener: %v", err)
	}
}

// TestBuryRaces: a server that pushes between deletion and tombstone is buried again, a bounded
// number of times.
func TestBuryRaces(t *testing.T) {
	f := flow{
		protocol: firewall.TCP,
		orig: ends{
			netip.MustParseAddrPort(at(client4, 1234)),
			netip.MustParseAddrPort(at(host4, 9090)),
		},
	}
	for name, c := range map[string]struct {
		lost   int // races
		answer error
		is     error
	}{
		"won": {}, "lost twice": {lost: 2, answer: unix.EEXIST}, "lost for ever": {lost: -1, answer: unix.EEXIST, is: unix.EEXIST},
		"table full": {lost: -1, answer: unix.ENOMEM, is: unix.ENOMEM}, "not allowed": {lost: -1, answer: unix.EPERM, is: firewall.ErrPermission},
	} {
		left, deleted := c.lost, 0
		k := answers(func(what string) ([]netlink.Message, error, bool) {
			switch {
			case what == "delete":
				deleted++
				return nil, unix.ENOENT, true // gone is fine
			case left != 0:
				left--
				return nil, c.answer, true
			}
			return nil, nil, false
		})
		err := bury(t.Context(), k.dial, f)
		if !errors.Is(err, c.is) || c.is == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.is)
		}
		if errors.Is(c.is, unix.EEXIST) && deleted != buryAttempts {
			t.Errorf("%s: tried %d times", name, deleted)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	k := &Kernel{dial: answers(nil).dial, proc: proc}
	if _, err := k.List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("List: %v", err)
	}
	if err := k.End(ctx, firewall.Connection{}); !errors.Is(err, context.Canceled) {
		t.Errorf("End: %v", err)
	}
}

// TestNotAllowed: without CAP_NET_ADMIN the error says so, from the real kernel.
func TestNotAllowed(t *testing.T) {
	n := newNamespace(t)
	var err error
	n.in(func() {
		// The raw call changes this thread only, and the thread ends with it; unix.Setresuid
		// changes the process.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); errno != 0 {
			err = errno
			return
		}
		_, err = flows(context.Background(), netlink.Dialer(netlink.Dial))
	})
	if !errors.Is(err, firewall.ErrPermission) {
		t.Errorf("got %v", err)
	}
}
