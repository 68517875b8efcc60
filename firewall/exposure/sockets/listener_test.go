package sockets

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/process"
)

// What the kernel says of unicast is in TestAccepts; this is the rest, and the forms of the
// question.
func TestAcceptsTable(t *testing.T) {
	l := func(p firewall.Protocol, address, device string) Listener {
		return Listener{
			Protocol:  p,
			Address:   netip.MustParseAddr(address),
			Port:      80,
			Interface: device,
		}
	}
	v6only := l(tcp, "::", "")
	v6only.V6Only = true
	for _, c := range []struct {
		listener Listener
		dst      string
		port     uint16
		iface    string
		want     bool
	}{
		{l(tcp, "0.0.0.0", ""), "192.0.2.1", 80, "eth0", true},
		{l(tcp, "0.0.0.0", ""), "192.0.2.1", 81, "eth0", false},
		{l(tcp, "0.0.0.0", ""), "2001:db8::1", 80, "eth0", false},
		{l(tcp, "0.0.0.0", ""), "::ffff:192.0.2.1", 80, "eth0", true},
		{l(tcp, "::", ""), "::ffff:192.0.2.1", 80, "eth0", true},
		{v6only, "::ffff:192.0.2.1", 80, "eth0", false},
		{v6only, "2001:db8::1", 80, "eth0", true},
		// no destination of a packet
		{l(tcp, "0.0.0.0", ""), "0.0.0.0", 80, "eth0", false},
		{l(tcp, "::", ""), "::", 80, "eth0", false},
		// the interface is unknown, or in the address
		{l(tcp, "0.0.0.0", "eth0"), "192.0.2.1", 80, "", true},
		{l(tcp, "0.0.0.0", "eth0"), "192.0.2.1", 80, "eth1", false},
		{l(tcp, "fe80::1", "eth0"), "fe80::1%eth0", 80, "", true},
		{l(tcp, "fe80::1", "eth0"), "fe80::1%eth1", 80, "", false},
		{l(tcp, "fe80::1", "eth0"), "fe80::1", 80, "eth0", true},
		{l(tcp, "::", ""), "fe80::1%eth0", 80, "eth0", true},
		{l(tcp, "0.0.0.0", "index 7"), "192.0.2.1", 80, "eth0", false},
		// loopback: after DNAT a packet from outside can get there
		{l(tcp, "127.0.0.1", ""), "127.0.0.1", 80, "eth0", true},
		{l(tcp, "127.0.0.1", ""), "127.0.0.2", 80, "lo", false},
		{l(tcp, "127.0.0.1", ""), "192.0.2.1", 80, "eth0", false},
		// multicast and broadcast: UDP alone
		{l(udp, "224.0.0.251", ""), "224.0.0.251", 80, "eth0", true},
		{l(udp, "224.0.0.251", ""), "192.0.2.1", 80, "eth0", false},
		{l(udp, "0.0.0.0", ""), "224.0.0.251", 80, "eth0", true},
		{l(udp, "192.0.2.1", ""), "224.0.0.251", 80, "eth0", false},
		{l(udp, "ff02::fb", "eth0"), "ff02::fb%eth0", 80, "", true},
		{l(udp, "0.0.0.0", ""), "255.255.255.255", 80, "eth0", true},
		{l(udp, "192.0.2.1", ""), "255.255.255.255", 80, "eth0", false},
		{l(tcp, "0.0.0.0", ""), "224.0.0.251", 80, "eth0", false},
		{l(tcp, "0.0.0.0", ""), "255.255.255.255", 80, "eth0", false},
		{l(firewall.SCTP, "::", ""), "ff02::1", 80, "eth0", false},
	} {
		if got := c.listener.Accepts(netip.MustParseAddr(c.dst), c.port, c.iface); got != c.want {
			t.Errorf(
				"%v: %s port %d on %q: %v",
				lines([]Listener{c.listener}),
				c.dst,
				c.port,
				c.iface,
				got,
			)
		}
	}
	if l(tcp, "0.0.0.0", "").Accepts(netip.Addr{}, 80, "eth0") {
		t.Error("an invalid destination is accepted")
	}
}

func TestTakersOfMulticast(t *testing.T) {
	list := []Listener{
		{Protocol: udp, Address: netip.MustParseAddr("0.0.0.0"), Port: 5353, Sockets: 1},
		{Protocol: udp, Address: netip.MustParseAddr("224.0.0.251"), Port: 5353, Sockets: 1},
		{Protocol: udp, Address: netip.MustParseAddr("192.0.2.1"), Port: 5353, Sockets: 1},
		{Protocol: tcp, Address: netip.MustParseAddr("0.0.0.0"), Port: 5353, Sockets: 1},
	}
	if got := lines(Takers(list, udp, netip.MustParseAddr("224.0.0.251"), 5353, "eth0")); !slices.Equal(
		got,
		[]string{"udp 224.0.0.251:5353", "udp 0.0.0.0:5353"},
	) {
		t.Errorf("multicast: %v", got)
	}
	if got := lines(Takers(list, udp, netip.MustParseAddr("192.0.2.1"), 5353, "eth0")); !slices.Equal(
		got,
		[]string{"udp 192.0.2.1:5353"},
	) {
		t.Errorf("unicast: %v", got)
	}
	if got := Takers(list, tcp, netip.MustParseAddr("192.0.2.1"), 53, "eth0"); len(got) != 0 {
		t.Errorf("another port: %v", got)
	}
}

func TestActivated(t *testing.T) {
	systemd := Owner{Process: process.Process{PID: 1, Name: "systemd"}, PIDs: []int{1}}
	for name, c := range map[string]struct {
		listener Listener
		want     bool
	}{
		"systemd alone":             {Listener{Owners: []Owner{systemd}}, true},
		"the service runs":          {Listener{Owners: []Owner{{Process: process.Process{PID: 7, Name: "sshd"}}, systemd}}, false},
		"a container's process 1":   {Listener{Owners: []Owner{{Process: process.Process{PID: 1, Name: "nginx"}}}}, false},
		"another's that is unknown": {Listener{Owners: []Owner{systemd}, Unowned: "…"}, false},
		"nobody":                    {Listener{}, false},
	} {
		if got := c.listener.Activated(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestNamespaceString(t *testing.T) {
	for want, n := range map[string]Namespace{
		"host":       {Inode: 1, Host: true, Name: "x"},
		"blue":       {Inode: 1, Name: "blue", Container: process.Container{ID: "web", Runtime: "lxc"}},
		"lxc web":    {Inode: 1, Container: process.Container{ID: "web", Runtime: "lxc"}},
		"net:[4711]": {Inode: 4711, Current: true},
	} {
		if got := n.String(); got != want {
			t.Errorf("%+v: %q", n, got)
		}
	}
}
