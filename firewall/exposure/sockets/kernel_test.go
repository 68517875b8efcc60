package sockets

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/process"
	"golang.org/x/sys/unix"
)

// neighbourhood is a host with two links, seen from a neighbour on both: eth0 (192.0.2.0/24,
// 2001:db8:0::/64) and eth1.
type neighbourhood struct{ outside *os.File }

func newNeighbourhood(t *testing.T) *neighbourhood {
	isolate(t)
	n := &neighbourhood{}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.outside, err = os.Open("/proc/thread-self/ns/net")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.outside.Close() })
	for i := range 2 {
		ip(
			t,
			fmt.Sprintf(
				"link add eth%d type veth peer name out%d netns /proc/%d/fd/%d",
				i,
				i,
				os.Getpid(),
				n.outside.Fd(),
			),
			fmt.Sprintf("address add 192.0.2.%d/25 dev eth%d", 1+128*i, i),
			fmt.Sprintf("address add 2001:db8:%d::1/64 dev eth%d nodad", i, i),
			fmt.Sprintf("link set eth%d addrgenmode none", i),
			fmt.Sprintf("link set eth%d up", i),
			fmt.Sprintf("address add fe80::1/64 dev eth%d nodad", i),
		)
		n.in(t, func() {
			ip(
				t,
				fmt.Sprintf("link set out%d addrgenmode none", i),
				fmt.Sprintf("link set out%d up", i),
				fmt.Sprintf("address add 192.0.2.%d/25 dev out%d", 2+128*i, i),
				fmt.Sprintf("address add 2001:db8:%d::2/64 dev out%d nodad", i, i),
				fmt.Sprintf("address add fe80::2/64 dev out%d nodad", i),
			)
		})
	}
	// a refusal of UDP is reported at once, and each time
	for _, name := range []string{"ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"} {
		if err := os.WriteFile("/proc/sys/net/"+name, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	// Each of the host's addresses can be reached through either link: on the other one it is
	// routed to.
	for i := range 2 {
		n.in(t, func() {
			ip(
				t,
				fmt.Sprintf("rule add from 192.0.2.%d lookup %d", 2+128*i, 100+i),
				fmt.Sprintf(
					"route add default via 192.0.2.%d dev out%d table %d",
					1+128*i,
					i,
					100+i,
				),
				fmt.Sprintf("-6 rule add from 2001:db8:%d::2 lookup %d", i, 100+i),
				fmt.Sprintf(
					"-6 route add default via 2001:db8:%d::1 dev out%d table %d",
					i,
					i,
					100+i,
				),
			)
		})
	}
	return n
}

// in runs f on a thread outside.
func (n *neighbourhood) in(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever
		err := unix.Setns(int(n.outside.Fd()), unix.CLONE_NEWNET)
		defer func() { done <- err }()
		if err == nil {
			f()
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// packet is one to be judged: to where, and on which of the host's interfaces it arrives. What the
// host sends to itself goes over lo, but counts as arriving on the interface that has the address.
type packet struct {
	dst, iface string
	own        bool
}

// source is the address to send from so that the packet takes that way.
func (p packet) source() netip.Addr {
	dst := netip.MustParseAddr(p.dst)
	switch {
	case p.own:
		return netip.Addr{}
	case dst.Is4() && p.iface == "eth0":
		return netip.MustParseAddr("192.0.2.2")
	case dst.Is4():
		return netip.MustParseAddr("192.0.2.130")
	case dst.IsLinkLocalUnicast(), dst.IsMulticast():
		return netip.MustParseAddr("fe80::2")
	case p.iface == "eth0":
		return netip.MustParseAddr("2001:db8:0::2")
	}
	return netip.MustParseAddr("2001:db8:1::2")
}

var packets = []packet{
	{"127.0.0.1", "lo", true}, {"127.0.0.9", "lo", true}, {"::1", "lo", true},
	{
		"192.0.2.1",
		"eth0",
		true,
	}, {"192.0.2.129", "eth1", true}, {"2001:db8:0::1", "eth0", true}, {"2001:db8:1::1", "eth1", true},
	{
		"192.0.2.1",
		"eth0",
		false,
	}, {"192.0.2.1", "eth1", false}, {"192.0.2.129", "eth0", false}, {"192.0.2.129", "eth1", false},
	{
		"2001:db8:0::1",
		"eth0",
		false,
	}, {"2001:db8:0::1", "eth1", false}, {"2001:db8:1::1", "eth1", false},
	{"fe80::1", "eth0", false}, {"fe80::1", "eth1", false},
}

// forms of a listener, all on one port.
var forms = []socket{
	{
		Address: "0.0.0.0:9000",
	}, {Address: "[::]:9000"}, {Address: "[::]:9000", V6Only: true}, {Address: "[::ffff:0.0.0.0]:9000"},
	{
		Address: "192.0.2.1:9000",
	}, {Address: "[::ffff:192.0.2.1]:9000"}, {Address: "127.0.0.1:9000"}, {Address: "[::1]:9000"},
	{Address: "[2001:db8:0::1]:9000"}, {Address: "[2001:db8:0::1]:9000", V6Only: true},
	{Address: "[fe80::1]:9000", Zone: "eth0"},
	{
		Address: "0.0.0.0:9000",
		Device:  "eth0",
	}, {Address: "[::]:9000", Device: "eth0"}, {Address: "192.0.2.1:9000", Device: "eth1"}, {Address: "0.0.0.0:9000", Device: "lo"},
}

// send sends the packet and reports through which of the host's sockets it came; nil for none.
func (n *neighbourhood) send(
	t *testing.T,
	p firewall.Protocol,
	to packet,
	port uint16,
	taken func() []int,
) []int {
	t.Helper()
	dst := netip.AddrPortFrom(netip.MustParseAddr(to.dst), port)
	var conn net.Conn
	var err error
	dial := func() {
		d := net.Dialer{Timeout: 2 * time.Second}
		zone := ""
		if dst.Addr().IsLinkLocalUnicast() {
			zone = map[string]string{"eth0": "out0", "eth1": "out1"}[to.iface]
		}
		if src := to.source(); src.IsValid() {
			if p == firewall.UDP {
				d.LocalAddr = &net.UDPAddr{IP: src.AsSlice(), Zone: zone}
			} else {
				d.LocalAddr = &net.TCPAddr{IP: src.AsSlice(), Zone: zone}
			}
		}
		conn, err = d.Dial(p.String(), netip.AddrPortFrom(dst.Addr().WithZone(zone), port).String())
	}
	if to.own {
		dial()
	} else {
		n.in(t, dial)
	}
	if conn != nil {
		defer conn.Close()
	}
	if err != nil {
		return nil // refused
	}
	if p != firewall.UDP {
		return taken()
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if got := taken(); got != nil { // these links deliver before Write returns
		return got
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	if _, err := conn.Read(make([]byte, 9)); !errors.Is(err, unix.ECONNREFUSED) {
		return taken()
	}
	return nil
}

// TestAccepts: for each form of listener and each packet, the kernel's own answer is that of
// Accepts.
func TestAccepts(t *testing.T) {
	n := newNeighbourhood(t)
	for _, p := range []firewall.Protocol{tcp, udp} {
		for _, form := range forms {
			form.Protocol = p
			fd := opened(t, form)
			list := here(t)
			if len(list) != 1 {
				t.Fatalf("%+v: listed %v", form, lines(list))
			}
			accepted := 0
			for _, to := range packets {
				want := len(n.send(t, p, to, 9000, func() []int { return taken(p, fd) })) == 1
				if got := list[0].Accepts(netip.MustParseAddr(to.dst), 9000, to.iface); got != want {
					t.Errorf(
						"%s: a packet to %s on %s (own: %v): %v, the kernel says %v",
						lines(list),
						to.dst,
						to.iface,
						to.own,
						got,
						want,
					)
				}
				if want {
					accepted++
				}
			}
			if accepted == 0 {
				t.Errorf("%s: none of the packets arrived", lines(list))
			}
			_ = unix.Close(fd)
		}
	}
}

// TestTakers: of every two listeners that can be on one port, the kernel's choice is among those of
// Takers, and the only one if it says so.
func TestTakers(t *testing.T) {
	n := newNeighbourhood(t)
	pairs, contested, certain := 0, 0, 0
	for _, p := range []firewall.Protocol{tcp, udp} {
		for i := range forms {
			for j := range i {
				a, b := forms[i], forms[j]
				a.Protocol, b.Protocol, a.Shared, b.Shared = p, p, true, true
				first, err := a.open()
				if err != nil {
					t.Fatal(err)
				}
				second, err := b.open()
				if err != nil {
					t.Fatal(err)
				}
				list := here(t)
				if len(list) == 2 { // else both are one
					pairs++
				}
				for _, to := range packets {
					dst := netip.MustParseAddr(to.dst)
					takers := Takers(list, p, dst, 9000, to.iface)
					got := n.send(t, p, to, 9000, func() []int { return taken(p, first, second) })
					switch {
					case len(got) > 1 || len(got) != min(1, len(takers)):
						t.Errorf(
							"%s and %s: a packet to %s on %s (own: %v): %d took it; said %v",
							lines(list)[0],
							lines(list)[len(list)-1],
							to.dst,
							to.iface,
							to.own,
							len(got),
							lines(takers),
						)
					case len(got) == 1:
						l := listenerOf(t, list, got[0])
						if !contains(takers, l) {
							t.Errorf(
								"%v: a packet to %s on %s (own: %v) was taken by %v; said %v",
								lines(list),
								to.dst,
								to.iface,
								to.own,
								lines([]Listener{l}),
								lines(takers),
							)
						}
						if len(list) == 2 && list[0].Accepts(dst, 9000, to.iface) &&
							list[1].Accepts(dst, 9000, to.iface) {
							contested++
							if len(takers) == 1 {
								certain++
							}
						}
					}
				}
				_ = unix.Close(first)
				_ = unix.Close(second)
			}
		}
	}
	t.Logf(
		"%d pairs; %d packets that both accept, of which Takers knows %d for certain",
		pairs,
		contested,
		certain,
	)
	if contested == 0 {
		t.Error("no packet was contested")
	}
}

// here are the listeners of this process and namespace, without a look at the rest of the machine.
func here(t *testing.T) []Listener {
	t.Helper()
	proc := unwilling{
		os.DirFS("/proc"),
		[]string{fmt.Sprint(os.Getpid())},
		func(string, string) error { return nil },
	}
	s, err := host{
		process.Reader{Proc: proc, User: process.UserName},
		netlink.Dial,
		netlink.In,
	}.read(
		t.Context(),
	)
	if err != nil {
		t.Fatal(err)
	}
	return s.Current()
}

func contains(list []Listener, l Listener) bool {
	want := lines([]Listener{l})[0]
	for _, s := range lines(list) {
		if s == want {
			return true
		}
	}
	return false
}

// listenerOf finds the Listener of a socket of this process.
func listenerOf(t *testing.T, list []Listener, fd int) Listener {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	device, err := unix.GetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE)
	if err != nil {
		t.Fatal(err)
	}
	device = string(bytes.TrimRight([]byte(device), "\x00"))
	var at netip.Addr
	only := false
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		at = netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		at = netip.AddrFrom16(sa.Addr).Unmap()
		n, _ := unix.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		only = n != 0
	}
	for _, l := range list {
		if l.Address == at && l.Interface == device && l.V6Only == only {
			return l
		}
	}
	t.Fatalf("no listener of %v on %q among %v", at, device, lines(list))
	return Listener{}
}

// taken are those of the sockets that got something by now, which is taken out.
func taken(p firewall.Protocol, sockets ...int) (out []int) {
	polled := make([]unix.PollFd, len(sockets))
	for i, fd := range sockets {
		polled[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	if n, err := unix.Poll(polled, 0); err != nil || n == 0 {
		return nil
	}
	for i, fd := range sockets {
		if polled[i].Revents&unix.POLLIN == 0 {
			continue
		}
		out = append(out, fd)
		if p == firewall.UDP {
			_, _, _ = unix.Recvfrom(fd, make([]byte, 9), unix.MSG_DONTWAIT)
		} else if c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC); err == nil {
			// leave nothing in TIME_WAIT
			_ = unix.SetsockoptLinger(c, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
			_ = unix.Close(c)
		}
	}
	return out
}

// opened makes a socket that the caller closes.
func opened(t *testing.T, s socket) int {
	t.Helper()
	fd, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
