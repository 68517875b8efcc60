package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// InjectedPayload is the payload of a UDP datagram of Inject: "port", the bytes of injectedTag.
const InjectedPayload = "\x70\x6f\x72\x74"

const injectedTag = 0x706f7274

// Inject puts one packet on a node's interface, over UDP or as a TCP SYN. Its source may be any
// address, even the receiver's, because the node's kernel doesn't check it.
func (n *Node) Inject(iface string, over Protocol, from, to netip.AddrPort) {
	n.t.Helper()
	link := n.Link(iface)
	err := n.Do(func() error {
		fd, err := packetSocket(link.Index, 0)
		if err != nil {
			return err
		}
		t := newTemplate(&link, over, to)
		t.fill(from.Addr(), from.Port(), injectedTag)
		_, err = unix.Write(fd, t.frame)
		return errors.Join(err, unix.Close(fd))
	})
	if err != nil {
		n.t.Fatalf("putting a packet from %v to %v on %s of %s: %v", from, to, iface, n.Name, err)
	}
}

// Advertise sends a router advertisement for a default route of an hour (RFC 4861 §4.2), from a
// link-local address of the node on the interface.
func (n *Node) Advertise(iface string, from netip.Addr) {
	n.t.Helper()
	link := n.Link(iface)
	err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		const neighbourHops = 255 // receivers require it, since it proves that no router was passed
		allNodes := unix.SockaddrInet6{
			ZoneId: uint32(link.Index),
			Addr:   netip.MustParseAddr("ff02::1").As16(),
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, neighbourHops),
			unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MULTICAST_IF, link.Index),
			unix.Bind(fd, &unix.SockaddrInet6{ZoneId: uint32(link.Index), Addr: from.As16()}),
			unix.Sendto(
				fd,
				[]byte{134, 0, 0, 0, 64, 0, 3600 >> 8, 3600 & 0xff, 0, 0, 0, 0, 0, 0, 0, 0},
				0,
				&allNodes,
			),
		)
	})
	if err != nil {
		n.t.Fatalf("advertising %v on %s of %s: %v", from, iface, n.Name, err)
	}
}

// Guest adds a node to the bridge docker0, beside Container, with addresses of its own.
func (w *World) Guest(name string) *Node {
	w.t.Helper()
	guest, err := newNode(w.t, name)
	if err == nil {
		w.t.Cleanup(guest.close)
		err = w.addToBridge(guest)
	}
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	return guest
}

func (w *World) addToBridge(guest *Node) error {
	if err := guest.Do(func() error { return setSysctls(false) }); err != nil {
		return err
	}
	const cable = 20 // larger than those of connectNodes
	outer, inner, err := w.connectPair(cable, w.Host, "veth1", guest, "eth0")
	if err != nil {
		return err
	}
	bridge := w.Host.link("docker0")
	port, err := w.Host.routes.LinkByName(outer.Name)
	if err == nil {
		err = w.Host.routes.LinkSetMasterByIndex(port, bridge.Index)
	}
	if err != nil {
		return fmt.Errorf("lab: plugging %s into docker0: %w", guest.Name, err)
	}
	inner.gateway = bridge
	return errors.Join(
		guest.address(inner, netip.MustParsePrefix("172.17.0.3/24"), false),
		guest.address(inner, netip.MustParsePrefix("fd00:17::3/64"), false))
}
