package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is an interface of a node.
type Link struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
	// V4 and V6 are its addresses in the order they were added, without link-local addresses.
	V4, V6 []netip.Addr

	gateway *Link // the next interface for packets that leave here
}

// LinkLocal is the interface's link-local address, derived from its MAC (RFC 4291 appendix A).
func (l Link) LinkLocal() netip.Addr { return linkLocal(l.MAC).Addr() }

// Link returns the interface of that name; an unknown name ends the test.
func (n *Node) Link(name string) Link {
	n.t.Helper()
	l := n.link(name)
	if l == nil {
		n.t.Fatalf("%s has no interface %s", n.Name, name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return *l
}

func (n *Node) link(name string) *Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// Addr4 is the first IPv4 address of the node's first interface.
func (n *Node) Addr4() netip.Addr { return n.Link("eth0").V4[0] }

// Addr6 is the first IPv6 address of the node's first interface.
func (n *Node) Addr6() netip.Addr { return n.Link("eth0").V6[0] }

// Addr returns Addr6 or Addr4, for loops over both families.
func (n *Node) Addr(six bool) netip.Addr {
	if six {
		return n.Addr6()
	}
	return n.Addr4()
}

// At is AddrPortFrom with Addr.
func (n *Node) At(port uint16, six bool) netip.AddrPort {
	return netip.AddrPortFrom(n.Addr(six), port)
}

// bringUp brings an interface of the namespace up, and records it.
func (n *Node) bringUp(name string) (*Link, error) {
	l, err := n.routes.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("lab: %s: interface %s: %w", n.Name, name, err)
	}
	if err := n.routes.LinkSetUp(l); err != nil {
		return nil, fmt.Errorf("lab: %s: bringing %s up: %w", n.Name, name, err)
	}
	link := &Link{Name: name, Index: l.Attrs().Index, MAC: l.Attrs().HardwareAddr}
	if l.Attrs().MasterIndex == 0 { // a bridge's port has no address
		if err := n.address(link, linkLocal(link.MAC), false); err != nil {
			return nil, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links = append(n.links, link)
	return link, nil
}

// linkLocal returns the link-local address that the kernel derives from a MAC address: modified
// EUI-64 (RFC 4291, appendix A).
func linkLocal(m net.HardwareAddr) netip.Prefix {
	a := netip.AddrFrom16([16]byte{
		0xfe, 0x80, 0, 0, 0, 0, 0, 0,
		m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5],
	})
	return netip.PrefixFrom(a, 64)
}

// address adds an address to an interface. noPrefixRoute omits the route to the prefix, for links
// where everything is behind one neighbour.
func (n *Node) address(l *Link, prefix netip.Prefix, noPrefixRoute bool) error {
	a := &netlink.Addr{IPNet: ipNet(prefix), LinkIndex: l.Index}
	if prefix.Addr().Is6() {
		a.Flags |= unix.IFA_F_NODAD // usable at once
	}
	if noPrefixRoute {
		a.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: l.Name, Index: l.Index}}
	if err := n.routes.AddrAdd(link, a); err != nil {
		return fmt.Errorf("lab: %s: adding %v to %s: %w", n.Name, prefix, l.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if prefix.Addr().Is4() {
		l.V4 = append(l.V4, prefix.Addr())
	} else if !prefix.Addr().IsLinkLocalUnicast() {
		l.V6 = append(l.V6, prefix.Addr())
	}
	return nil
}

// AddAddress adds an address to an interface, usable at once.
func (n *Node) AddAddress(iface string, prefix netip.Prefix) {
	n.t.Helper()
	l := n.link(iface)
	if l == nil {
		n.t.Fatalf("%s has no interface %s", n.Name, iface)
		return
	}
	if err := n.address(l, prefix, false); err != nil {
		n.t.Fatalf("%v", err)
	}
}

// route is a route of a node to a prefix, through an interface, and by the gateway via if it is
// valid.
type route struct {
	to  netip.Prefix
	via netip.Addr
	dev *Link
	mtu int
}

// addRoute sets a route, and replaces one to the same prefix.
func (n *Node) addRoute(r route) error {
	nr := &netlink.Route{
		LinkIndex: r.dev.Index,
		Dst:       ipNet(r.to.Masked()),
		MTU:       r.mtu,
		MTULock:   r.mtu != 0,
	}
	if r.via.IsValid() {
		nr.Gw = r.via.AsSlice()
		nr.Flags = int(netlink.FLAG_ONLINK)
	} else {
		nr.Scope = netlink.SCOPE_LINK
	}
	if err := n.routes.RouteReplace(nr); err != nil {
		return fmt.Errorf("lab: %s: route to %v via %v dev %s: %w",
			n.Name, r.to, r.via, r.dev.Name, err)
	}
	return nil
}

// addLocal makes every address of a prefix the node's own, for sending and receiving.
func (n *Node) addLocal(prefix netip.Prefix) error {
	err := n.routes.RouteReplace(&netlink.Route{
		LinkIndex: 1, // lo is the first interface of every namespace
		Dst:       ipNet(prefix.Masked()),
		Type:      unix.RTN_LOCAL,
		Table:     unix.RT_TABLE_LOCAL,
		Scope:     netlink.SCOPE_HOST,
	})
	if err != nil {
		return fmt.Errorf("lab: %s: local route to %v: %w", n.Name, prefix, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
