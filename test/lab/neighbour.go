package lab

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// AddSources makes every address of a prefix the node's own, so that Connect, Dial and listeners
// can use it, and routes the prefix there from Host. Router and Internet need no such route,
// because Host reaches them by its default route; nor do prefixes inside Office's networks.
func (w *World) AddSources(n *Node, prefix netip.Prefix) {
	w.t.Helper()
	if err := n.addLocal(prefix); err != nil {
		w.t.Fatalf("%v", err)
	}
	for _, l := range w.Host.links {
		if l.gateway == nil || (n != w.Office && n != w.Container) ||
			n.link(l.gateway.Name) != l.gateway {
			continue
		}
		via := firstAddress(l.gateway, prefix.Addr().Is6())
		if err := w.Host.addRoute(route{to: prefix, via: via, dev: l}); err != nil {
			w.t.Fatalf("%v", err)
		}
		return
	}
}

// PinNeighbours gives every node permanent neighbour entries, so that no packet waits for ARP or
// neighbour discovery. Probe and Stream call it. FlushNeighbours undoes it.
func (w *World) PinNeighbours() {
	w.t.Helper()
	for _, n := range w.nodes() {
		for _, l := range n.links {
			if l.gateway == nil {
				continue
			}
			for _, a := range append(append([]netip.Addr(nil), l.gateway.V4...), l.gateway.V6...) {
				err := n.routes.NeighSet(&netlink.Neigh{
					LinkIndex: l.Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(),
					HardwareAddr: l.gateway.MAC,
				})
				if err != nil {
					w.t.Fatalf("lab: %s: pinning %v on %s: %v", n.Name, a, l.Name, err)
				}
			}
		}
	}
}

// FlushNeighbours makes every node forget its neighbours, so that the next packet needs ARP or IPv6
// neighbour discovery again.
func (w *World) FlushNeighbours() {
	w.t.Helper()
	for _, n := range w.nodes() {
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			all, err := n.routes.NeighList(0, family)
			if err != nil {
				w.t.Fatalf("lab: %s: listing neighbours: %v", n.Name, err)
			}
			for _, e := range all {
				if e.State&netlink.NUD_NOARP != 0 || net.IP(e.IP).IsMulticast() {
					continue
				}
				// The entry may have expired since it was listed.
				_ = n.routes.NeighDel(&e)
			}
		}
	}
}
