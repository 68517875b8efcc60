package lab

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// World is a small internet; see the package comment for its map.
type World struct {
	Host, Office, Internet, Router, Container *Node

	t         TB
	closeOnce sync.Once

	mu        sync.Mutex
	published []publication
}

// New builds a world and removes it at the end of the test. An error ends the test.
func New(t TB) *World {
	t.Helper()
	w := &World{t: t}
	t.Cleanup(w.Close)
	if err := w.build(); err != nil {
		t.Fatalf("building a world of network namespaces: %v", err)
	}
	return w
}

// Close removes the world: listeners, connections, programs, namespaces. It may be called twice.
func (w *World) Close() {
	w.closeOnce.Do(func() {
		for _, n := range w.nodes() {
			n.close()
		}
	})
}

// nodes lists the nodes that exist. While New fails, some don't.
func (w *World) nodes() []*Node {
	var all []*Node
	for _, n := range []*Node{w.Host, w.Office, w.Internet, w.Router, w.Container} {
		if n != nil {
			all = append(all, n)
		}
	}
	return all
}

func (w *World) build() error {
	for _, n := range []struct {
		node **Node
		name string
	}{
		{&w.Host, "host"},
		{&w.Office, "office"},
		{&w.Internet, "internet"},
		{&w.Router, "router"},
		{&w.Container, "container"},
	} {
		node, err := newNode(w.t, n.name)
		if err != nil {
			return err
		}
		*n.node = node
		router := node == w.Host || node == w.Router
		if err := node.Do(func() error { return setSysctls(router) }); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	for _, step := range []func() error{
		w.connectNodes, w.awaitCarriers, w.assignAddresses, w.addRoutes, w.loadDockerTable,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// setSysctls makes the kernel's answers fast and repeatable. It must run before there are
// interfaces, so that "default" applies to all of them.
func setSysctls(forward bool) error {
	on := "0"
	if forward {
		on = "1"
	}
	for _, s := range []struct{ name, value string }{
		{"net.ipv4.ip_forward", on},
		{"net.ipv6.conf.all.forwarding", on},
		{"net.ipv6.conf.default.forwarding", on},
		// Accept spoofed sources on every interface.
		{"net.ipv4.conf.all.rp_filter", "0"},
		{"net.ipv4.conf.default.rp_filter", "0"},
		// Addresses are usable at once, and no node sends unrequested packets.
		{"net.ipv6.conf.all.accept_dad", "0"},
		{"net.ipv6.conf.default.accept_dad", "0"},
		{"net.ipv6.conf.default.dad_transmits", "0"},
		{"net.ipv6.conf.default.accept_ra", "0"},
		// The kernel assigns link-local addresses up to a second after an interface is up, and
		// until then a router can't find its neighbours. So the lab assigns them (1: the kernel
		// assigns none).
		{"net.ipv6.conf.default.addr_gen_mode", "1"},
		{"net.ipv6.conf.default.router_solicitations", "0"},
		{"net.ipv4.conf.all.send_redirects", "0"},
		{"net.ipv4.conf.default.send_redirects", "0"},
		// A SYN that is never completed costs the listener nothing, and gets one answer.
		{"net.ipv4.tcp_syncookies", "2"},
		{"net.ipv4.tcp_synack_retries", "0"},
		// Send every refusal, without a rate limit.
		{"net.ipv4.icmp_ratelimit", "0"},
		{"net.ipv4.icmp_ratemask", "0"},
		{"net.ipv6.icmp.ratelimit", "0"},
		{"net.ipv6.icmp.ratemask", "2"}, // only "packet too big", which the kernel never limits
		{"net.ipv4.tcp_invalid_ratelimit", "0"},
	} {
		if err := setSysctl(s.name, s.value); err != nil {
			return err
		}
	}
	// Half-open connections must not fill the conntrack table, which the whole machine shares. A
	// handshake takes microseconds, so a second is enough.
	for _, s := range []string{"syn_recv", "syn_sent"} {
		if err := setSysctlIfPresent("net.netfilter.nf_conntrack_tcp_timeout_"+s, "1"); err != nil {
			return err
		}
	}
	return nil
}

// connectNodes connects the nodes in pairs.
func (w *World) connectNodes() error {
	for i, c := range []struct {
		a, b         *Node
		aName, bName string
	}{
		{w.Internet, w.Router, "eth0", "eth0"},
		{w.Host, w.Router, "eth0", "eth1"},
		{w.Host, w.Office, "eth1", "eth0"},
		{w.Host, w.Container, "veth0", "eth0"},
	} {
		if _, _, err := w.connectPair(i, c.a, c.aName, c.b, c.bName); err != nil {
			return err
		}
	}
	// Frames from Container go to the bridge, not to its port.
	bridge := w.Host.link("docker0")
	peer := w.Container.link("eth0")
	bridge.gateway, peer.gateway = peer, bridge
	return nil
}

// connectPair connects two nodes by interfaces with these names. It plugs veth0 into docker0.
func (w *World) connectPair(
	number int,
	a *Node,
	aName string,
	b *Node,
	bName string,
) (outer, inner *Link, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = aName
	attrs.HardwareAddr = mac(number, 1)
	err = a.routes.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: bName, PeerHardwareAddr: mac(number, 2),
		PeerNamespace: netlink.NsFd(int(b.ns.file.Fd())),
	})
	if err != nil {
		return nil, nil,
			fmt.Errorf("lab: cable %s %s to %s %s: %w", a.Name, aName, b.Name, bName, err)
	}
	if aName == "veth0" {
		if err := w.addBridge(); err != nil {
			return nil, nil, err
		}
	}
	if outer, err = a.bringUp(aName); err != nil {
		return nil, nil, err
	}
	if inner, err = b.bringUp(bName); err != nil {
		return nil, nil, err
	}
	outer.gateway, inner.gateway = inner, outer
	return outer, inner, nil
}

// addBridge makes docker0 and plugs veth0 into it.
func (w *World) addBridge() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "docker0"
	attrs.HardwareAddr = mac(9, 1)
	if err := w.Host.routes.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("lab: making docker0: %w", err)
	}
	bridge, err := w.Host.bringUp("docker0")
	if err != nil {
		return err
	}
	port, err := w.Host.routes.LinkByName("veth0")
	if err != nil {
		return err
	}
	return w.Host.routes.LinkSetMasterByIndex(port, bridge.Index)
}

// mac numbers interfaces. The first byte marks a locally administered unicast address.
func mac(cable, end int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x1a, 0xb0, 0, byte(cable), byte(end)}
}

// assignAddresses assigns addresses to the interfaces. If noPrefixRoute, all neighbours are behind
// one gateway, so that no test needs a thousand neighbour entries.
func (w *World) assignAddresses() error {
	for _, a := range []struct {
		node          *Node
		link          string
		prefix        string
		noPrefixRoute bool
	}{
		{w.Internet, "eth0", "203.0.113.10/24", false},
		{w.Internet, "eth0", "2001:db8:113::10/64", false},
		{w.Router, "eth0", "203.0.113.1/24", true},
		{w.Router, "eth0", "2001:db8:113::1/64", true},
		{w.Router, "eth1", "198.51.100.1/24", true},
		{w.Router, "eth1", "2001:db8:100::1/64", true},
		{w.Host, "eth0", "198.51.100.10/24", false},
		{w.Host, "eth0", "198.51.100.11/24", false},
		{w.Host, "eth0", "2001:db8:100::10/64", false},
		{w.Host, "eth0", "2001:db8:100::11/64", false},
		{w.Host, "eth1", "10.20.0.1/16", true},
		{w.Host, "eth1", "fd00:20::1/64", true},
		{w.Office, "eth0", "10.20.1.1/16", false},
		{w.Office, "eth0", "fd00:20::1:1/64", false},
		{w.Host, "docker0", "172.17.0.1/24", false},
		{w.Host, "docker0", "fd00:17::1/64", false},
		{w.Container, "eth0", "172.17.0.2/24", false},
		{w.Container, "eth0", "fd00:17::2/64", false},
	} {
		link, prefix := a.node.link(a.link), netip.MustParsePrefix(a.prefix)
		if err := a.node.address(link, prefix, a.noPrefixRoute); err != nil {
			return err
		}
	}
	return nil
}

// addRoutes connects the networks.
func (w *World) addRoutes() error {
	if err := w.setPathMTU(0); err != nil {
		return err
	}
	for _, r := range []struct {
		node *Node
		to   string
		via  *Node // the gateway, by its first address on the link; nil: directly on the link
		dev  string
	}{
		{w.Internet, "default", w.Router, "eth0"},
		{w.Host, "default", w.Router, "eth0"},
		{w.Office, "default", w.Host, "eth0"},
		{w.Container, "default", w.Host, "eth0"},
		{w.Host, "10.20.1.1/32", nil, "eth1"},
		{w.Host, "fd00:20::1:1/128", nil, "eth1"},
		{w.Host, "10.20.0.0/16", w.Office, "eth1"},
		{w.Host, "fd00:20::/48", w.Office, "eth1"},
		{w.Router, "10.20.0.0/16", w.Host, "eth1"},
		{w.Router, "fd00:20::/48", w.Host, "eth1"},
		{w.Router, "172.17.0.0/24", w.Host, "eth1"},
		{w.Router, "fd00:17::/64", w.Host, "eth1"},
	} {
		dev := r.node.link(r.dev)
		for _, to := range destinations(r.to) {
			var via netip.Addr
			if r.via != nil {
				via = firstAddress(dev.gateway, to.Addr().Is6())
			}
			if err := r.node.addRoute(route{to: to, via: via, dev: dev}); err != nil {
				return err
			}
		}
	}
	return nil
}

// destinations parses a prefix; "default" means one for each family.
func destinations(s string) []netip.Prefix {
	if s == "default" {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	}
	return []netip.Prefix{netip.MustParsePrefix(s)}
}

// firstAddress returns an interface's first address of a family.
func firstAddress(l *Link, six bool) netip.Addr {
	if six {
		return l.V6[0]
	}
	return l.V4[0]
}

// PathMTU narrows the path between Host and Internet to mtu bytes, at Router and in both
// directions. Router answers larger packets with "fragmentation needed" or "packet too big", and
// the interfaces at both ends keep their MTU. IPv6 needs at least 1280. 0 restores the path.
func (w *World) PathMTU(mtu int) {
	w.t.Helper()
	if err := w.setPathMTU(mtu); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// setPathMTU sets Router's routes. They carry the limit, locked, because an interface with a
// smaller MTU than its peer would silently drop large packets.
func (w *World) setPathMTU(mtu int) error {
	out, in := w.Router.link("eth0"), w.Router.link("eth1")
	for _, six := range []bool{false, true} {
		internet, host := firstAddress(out.gateway, six), firstAddress(in.gateway, six)
		everything, hosts := netip.PrefixFrom(netip.IPv4Unspecified(), 0),
			netip.PrefixFrom(host, 24)
		if six {
			everything, hosts = netip.PrefixFrom(netip.IPv6Unspecified(), 0),
				netip.PrefixFrom(host, 64)
		}
		for _, r := range []route{
			{to: netip.PrefixFrom(internet, internet.BitLen()), dev: out, mtu: mtu},
			{to: everything, via: internet, dev: out, mtu: mtu},
			{to: hosts, dev: in, mtu: mtu},
		} {
			if err := w.Router.addRoute(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// awaitCarriers waits until the kernel has noticed that the links are connected, which a busy
// machine does late. Until then it has no routes to a link's IPv6 addresses.
func (w *World) awaitCarriers() error {
	for _, n := range w.nodes() {
		for _, l := range n.links {
			var err error
			up := waitUntil(10*time.Second, func() bool {
				var found netlink.Link
				found, err = n.routes.LinkByIndex(l.Index)
				return err == nil && found.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
			})
			if !up {
				return fmt.Errorf("%s: interface %s has no carrier: %v", n.Name, l.Name, err)
			}
		}
	}
	return nil
}
