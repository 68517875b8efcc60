package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// Wire is the network of a virtual machine: a node whose only interface, eth0, is a tap device. The
// program that opens the tap inside the node, such as qemu, is the other end.
type Wire struct {
	*Node
	machine *Link
}

// NewWire makes a wire to a machine that has, or will have, the given MAC and IP addresses. The
// node is its router, with the addresses mac and own. It has permanent neighbour entries for the
// machine, so that nothing waits for ARP. It ends with the test.
func NewWire(
	t TB,
	mac, machine net.HardwareAddr,
	addresses []netip.Addr,
	own ...netip.Prefix,
) *Wire {
	t.Helper()
	n, err := newNode(t, "wire")
	if err != nil {
		t.Fatalf("making a wire to a virtual machine: %v", err)
	}
	t.Cleanup(n.close)
	w := &Wire{Node: n, machine: &Link{MAC: machine}}
	if err := w.attach(mac, addresses, own); err != nil {
		t.Fatalf("making a wire to a virtual machine: %v", err)
	}
	return w
}

func (w *Wire) attach(mac net.HardwareAddr, addresses []netip.Addr, own []netip.Prefix) error {
	err := w.Do(func() error {
		if err := setSysctls(false); err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth0"
		// The kernel puts the device into the namespace of the calling thread.
		if err := netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: attrs,
			Mode: netlink.TUNTAP_MODE_TAP}); err != nil {
			return fmt.Errorf("making a tap device (it needs /dev/net/tun): %w", err)
		}
		tap, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		// The kernel ignores the address given to LinkAdd for a tap.
		return netlink.LinkSetHardwareAddr(tap, mac)
	})
	if err != nil {
		return err
	}
	l, err := w.bringUp("eth0")
	if err != nil {
		return err
	}
	l.gateway = w.machine
	for _, p := range own {
		if err := w.address(l, p, false); err != nil {
			return err
		}
	}
	for _, a := range addresses {
		err := w.routes.NeighSet(&netlink.Neigh{
			LinkIndex: l.Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(),
			HardwareAddr: w.machine.MAC,
		})
		if err != nil {
			return fmt.Errorf("pinning %v: %w", a, err)
		}
	}
	return nil
}

// AddSources makes every address of a prefix the node's own, so that Connect and Dial can use it.
func (w *Wire) AddSources(prefix netip.Prefix) {
	w.t.Helper()
	if err := w.addLocal(prefix); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// Stream probes the machine as World.Stream does. It may start before the machine: until a program
// opens the other end of the tap, probes are lost.
func (w *Wire) Stream(sources []netip.Addr, to netip.AddrPort, opts ...Option) *Stream {
	w.t.Helper()
	return w.stream(sources, to, opts)
}
