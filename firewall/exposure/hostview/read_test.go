package hostview

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/netlinktest"
)

// A namespace with all that a host can have, made by the programs that administrators use.
func TestReadTheNamespaceOfTheThread(t *testing.T) {
	backendtest.Isolate(t)
	backendtest.Program(t, "", "sh", "-ec", `
		ip link set lo up
		ip link add eth0 type veth peer name peer0
		ip link set eth0 group 7
		ip addr add 192.0.2.1/24 dev eth0
		ip addr add 192.0.2.2/24 dev eth0
		echo 100 > /proc/sys/net/ipv6/conf/eth0/dad_transmits
		ip addr add 2001:db8::99/64 dev eth0
		ip addr add 2001:db8::1/64 dev eth0 nodad
		ip link add br0 type bridge
		ip link set peer0 master br0
		ip link set eth0 up; ip link set peer0 up; ip link set br0 up
		ip route add 198.51.100.0/24 via 192.0.2.254 metric 5
		ip route add default via 192.0.2.254 table 1000
		ip route add blackhole 203.0.113.0/24
		ip route add 10.0.0.0/8 nexthop via 192.0.2.3 dev eth0 nexthop via 192.0.2.4 dev eth0
		ip -6 route add 2001:db8:1::/48 via 2001:db8::2
		ip rule add priority 100 fwmark 0x1/0xff iif eth0 lookup 1000
		ip rule add priority 90 not from 192.0.2.0/24 ipproto tcp dport 80-90 lookup 1000 suppress_prefixlength 0
		ip rule add priority 95 goto 100
		ip rule add priority 97 sport 5 tos 0x10 lookup 1000
		ip rule add priority 98 dport 53 lookup 1000
		ip -6 rule add priority 50 to 2001:db8::/32 prohibit
		echo 1 > /proc/sys/net/ipv4/conf/eth0/rp_filter
		echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet
		echo 2 > /proc/sys/net/ipv4/conf/eth0/arp_ignore
		echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_filter
		ip addr add 192.0.2.77/32 dev br0 scope host
		echo 1 > /proc/sys/net/ipv4/ip_forward
		echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
		echo 1 > /proc/sys/net/ipv6/conf/br0/disable_ipv6
	`)
	h, err := Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eth0, br0, lo := h.Interface("eth0"), h.Interface("br0"), h.Interface("lo")
	if eth0 == nil || br0 == nil || lo == nil || len(h.Interfaces) != 4 {
		t.Fatalf("interfaces: %+v", h.Interfaces)
	}
	if !lo.Loopback || lo.Ethernet || !lo.Up || !eth0.Ethernet || eth0.Kind != "veth" ||
		eth0.Group != 7 ||
		h.Interface("peer0").Master != br0.Index {
		t.Errorf("lo %+v, eth0 %+v", lo, eth0)
	}
	for i, want := range []string{"192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64"} {
		if eth0.Addresses[i] != netip.MustParsePrefix(want) {
			t.Errorf("addresses of eth0: %v", eth0.Addresses)
		}
	}
	if !slices.Contains(eth0.Tentative, netip.MustParseAddr("2001:db8::99")) ||
		slices.Contains(eth0.Tentative, netip.MustParseAddr("2001:db8::1")) {
		t.Errorf("tentative addresses of eth0: %v of %v", eth0.Tentative, eth0.Addresses)
	}
	if s := eth0.Sysctls; s.RPFilter != 1 || !s.RouteLocalnet || !s.Forwarding4 || !s.Forwarding6 ||
		s.AcceptLocal ||
		s.DisableIPv6 ||
		!br0.Sysctls.DisableIPv6 {
		t.Errorf("sysctls of eth0: %+v", s)
	}
	if h.ARPIgnore(eth0) != 2 || !h.ARPFilter(eth0) || h.ARPIgnore(br0) != 0 || h.ARPFilter(br0) ||
		!slices.Equal(br0.HostScope, []netip.Addr{netip.MustParseAddr("192.0.2.77")}) {
		t.Errorf("ARP: %+v, %+v", eth0, br0)
	}
	if !h.IPForward || !h.All.Forwarding6 || !h.Forwards(eth0, address.IPv4) {
		t.Errorf("all: %+v", h.All)
	}
	checkRoutes(t, h, eth0.Index)
	checkRules(t, h)
}

func checkRoutes(t *testing.T, h *exposure.Host, eth0 int) {
	find := func(dest string, table uint32) exposure.Route {
		for _, r := range h.Routes {
			if r.Dest == netip.MustParsePrefix(dest) && r.Table == table {
				return r
			}
		}
		t.Errorf("no route to %s in table %d", dest, table)
		return exposure.Route{}
	}
	if r := find("192.0.2.1/32", 255); r.Type != exposure.RouteLocal || len(r.NextHops) != 1 ||
		r.NextHops[0].Index != eth0 {
		t.Errorf("local: %+v", r)
	}
	if r := find("192.0.2.255/32", 255); r.Type != exposure.RouteBroadcast {
		t.Errorf("broadcast: %+v", r)
	}
	if r := find("198.51.100.0/24", 254); r.Metric != 5 ||
		r.NextHops[0].Gateway != netip.MustParseAddr("192.0.2.254") {
		t.Errorf("gateway: %+v", r)
	}
	if r := find("0.0.0.0/0", 1000); r.Type != exposure.RouteUnicast {
		t.Errorf("default: %+v", r)
	}
	if r := find("203.0.113.0/24", 254); r.Type != exposure.RouteBlackhole || len(r.NextHops) != 0 {
		t.Errorf("blackhole: %+v", r)
	}
	if r := find("10.0.0.0/8", 254); len(r.NextHops) != 2 ||
		r.NextHops[1].Gateway != netip.MustParseAddr("192.0.2.4") {
		t.Errorf("multipath: %+v", r)
	}
	if r := find("2001:db8:1::/48", 254); r.NextHops[0].Gateway != netip.MustParseAddr(
		"2001:db8::2",
	) {
		t.Errorf("IPv6: %+v", r)
	}
	find("2001:db8::1/128", 255)
}

func checkRules(t *testing.T, h *exposure.Host) {
	got := map[uint32]exposure.RoutingRule{}
	for i, r := range h.Rules {
		if i > 0 && r.Priority < h.Rules[i-1].Priority {
			t.Errorf("rules out of order: %+v", h.Rules)
		}
		if r.Priority > 0 && r.Priority < 32000 {
			got[r.Priority] = r
		}
	}
	for _, want := range []exposure.RoutingRule{
		{Family: address.IPv4, Priority: 100, Mark: 1, MarkMask: 0xff, In: "eth0", Action: exposure.RuleTable, Table: 1000, SuppressPrefixLength: -1},
		{Family: address.IPv4, Priority: 90, Not: true, Source: netip.MustParsePrefix("192.0.2.0/24"), Protocol: 6, Dport: exposure.Numbers(80, 90),
			Action: exposure.RuleTable, Table: 1000, SuppressPrefixLength: 0},
		{Family: address.IPv4, Priority: 95, Action: exposure.RuleGoto, Target: 100, SuppressPrefixLength: -1},
		{Family: address.IPv4, Priority: 97, Action: exposure.RuleTable, Table: 1000, SuppressPrefixLength: -1, Sport: exposure.Numbers(5, 5), Unknown: "tos 0x10"},
		{Family: address.IPv4, Priority: 98, Action: exposure.RuleTable, Table: 1000, SuppressPrefixLength: -1, Dport: exposure.Numbers(53, 53)},
		{Family: address.IPv6, Priority: 50, Dest: netip.MustParsePrefix("2001:db8::/32"), Action: exposure.RuleProhibit, SuppressPrefixLength: -1},
	} {
		if got[want.Priority] != want {
			t.Errorf("rule %d: %+v, want %+v", want.Priority, got[want.Priority], want)
		}
	}
}

// answering is a kernel that gives all dumps one answer.
func answering(list []netlink.Message, err error) netlink.Dialer {
	return netlinktest.Kernel(
		func(netlinktest.Question) ([]netlink.Message, error) { return list, err },
	).Dial
}

func TestErrorsOfTheKernel(t *testing.T) {
	message := func(b ...byte) []netlink.Message { return []netlink.Message{{Header: b}} }
	for name, c := range map[string]struct {
		answer []netlink.Message
		err    error
		want   error
	}{
		"broken":                {nil, unix.EIO, unix.EIO},
		"an answer of 3 bytes":  {message(1, 2, 3), nil, netlink.ErrMalformed},
		"an attribute too long": {message(append(make([]byte, 16), 200, 0, 3, 0)...), nil, netlink.ErrMalformed},
		"changes all the time":  {[]netlink.Message{{Flags: unix.NLM_F_DUMP_INTR, Header: make([]byte, 16)}}, nil, netlink.ErrInterrupted},
		// of interfaces, which every kernel has
		"without policy routing": {nil, unix.EOPNOTSUPP, unix.EOPNOTSUPP},
	} {
		_, err := ReadHost(t.Context(), answering(c.answer, c.err), fstest.MapFS{})
		if !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), "reading interfaces: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	noRules := netlinktest.Kernel(func(q netlinktest.Question) ([]netlink.Message, error) {
		if q.Kind == unix.RTM_GETRULE {
			return nil, unix.EOPNOTSUPP
		}
		return nil, nil
	})
	if h, err := ReadHost(t.Context(), netlink.Dialer(noRules.Dial), fstest.MapFS{}); err != nil ||
		len(h.Rules) > 0 {
		t.Errorf("a kernel without policy routing: %+v, %v", h, err)
	}
}

func TestSysctlsThatAreNotThere(t *testing.T) {
	none := answering(nil, nil)
	h, err := ReadHost(
		t.Context(),
		none,
		fstest.MapFS{"net/ipv4/conf/all/rp_filter": {Data: []byte("2\n")}},
	)
	if err != nil || h.All.RPFilter != 2 || !h.All.DisableIPv6 || h.IPForward {
		t.Errorf("%+v, %v", h, err)
	}
	_, err = ReadHost(
		t.Context(),
		none,
		fstest.MapFS{"net/ipv4/ip_forward": {Data: []byte("yes\n")}},
	)
	if err == nil || !strings.Contains(err.Error(), "net.ipv4.ip_forward") {
		t.Errorf("%v", err)
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add([]byte{8, 0, 3, 0, 'l', 'o', 0, 0})
	f.Add([]byte{12, 0, 9, 0, 8, 0, 0, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			header := make([]byte, 16)
			header[0], header[1], header[2] = family, 200, 3
			m := netlink.Message{Header: header, Attributes: b}
			_, _, _ = link(&exposure.Host{}, m)
			_, _, _ = parseAddress(m)
			_, _, _ = route(m)
			_, _, _ = rule(m)
		}
	})
}

// An address that another host turned out to have isn't this host's.
func TestLeavesOutDuplicateAddresses(t *testing.T) {
	backendtest.Isolate(t)
	backendtest.Program(t, "", "sh", "-ec", `
		ip link add eth0 type veth peer name peer0
		ip link set eth0 up; ip link set peer0 up
		ip addr add 2001:db8::1/64 dev peer0 nodad
		ip addr add 2001:db8::1/64 dev eth0
		for i in $(seq 50); do
			ip -6 addr show dev eth0 | grep -q dadfailed && exit 0
			sleep 0.1
		done
		exit 1
	`)
	h, err := Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	duplicate := netip.MustParsePrefix("2001:db8::1/64")
	if eth0 := h.Interface("eth0"); slices.Contains(eth0.Addresses, duplicate) {
		t.Errorf("addresses of eth0: %v", eth0.Addresses)
	}
}
