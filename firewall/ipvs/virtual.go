package ipvs

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// VirtualServices is Virtual for a reader who only wants the services.
func VirtualServices() ([]firewall.VirtualService, error) {
	list, _, err := Virtual()
	return list, err
}

// Virtual reads the services at addresses that the host holds for IPVS alone, in order. held
// reports whether it holds any such address, served or not; it is true as well where that can't be
// told.
func Virtual() (list []firewall.VirtualService, held bool, err error) {
	addresses, err := heldAddresses(context.Background())
	if err != nil {
		return nil, true, err
	}
	if len(addresses) == 0 {
		return nil, false, nil
	}
	services, err := Services()
	for _, s := range services {
		if addresses[s.At.Addr()] {
			list = append(list, s.VirtualService)
		}
	}
	return list, true, err
}

// heldAddresses are those of firewall.VirtualInterfaces, in the calling thread's network namespace.
func heldAddresses(ctx context.Context) (map[netip.Addr]bool, error) {
	from := netlink.NewPool(netlink.Dial)
	defer func() { _ = from.Close() }()
	links := netlink.Request{Kind: unix.RTM_GETLINK, Header: make([]byte, unix.SizeofIfInfomsg)}
	indexes, err := netlink.Table(ctx, from, unix.NETLINK_ROUTE, links, virtualInterface)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	out := map[netip.Addr]bool{}
	if len(indexes) == 0 {
		return out, nil
	}
	addresses := netlink.Request{Kind: unix.RTM_GETADDR, Header: make([]byte, unix.SizeofIfAddrmsg)}
	found, err := netlink.Table(ctx, from, unix.NETLINK_ROUTE, addresses,
		func(m netlink.Message) (netip.Addr, bool, error) { return addressOf(m, indexes) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	for _, a := range found {
		out[a] = true
	}
	return out, nil
}

// virtualInterface is the index of an interface that holds addresses for IPVS alone: struct
// ifinfomsg and IFLA_* (include/uapi/linux/if_link.h).
func virtualInterface(m netlink.Message) (index uint32, wanted bool, err error) {
	a, err := netlink.Parse(m.Attributes)
	wanted = slices.Contains(firewall.VirtualInterfaces, a.String(unix.IFLA_IFNAME))
	return uint32(netlink.Native(m.Header[4:8])), wanted, err
}

// addressOf is an address of one of some interfaces: struct ifaddrmsg and IFA_*
// (include/uapi/linux/if_addr.h).
func addressOf(m netlink.Message, indexes []uint32) (address netip.Addr, wanted bool, err error) {
	if !slices.Contains(indexes, uint32(netlink.Native(m.Header[4:8]))) {
		return address, false, nil
	}
	a, err := netlink.Parse(m.Attributes)
	// IPv4 has both where there is a peer, and the local one is ours; IPv6 has the address alone.
	address, ok := netip.AddrFromSlice(a.Bytes(unix.IFA_LOCAL))
	if !ok {
		address, ok = netip.AddrFromSlice(a.Bytes(unix.IFA_ADDRESS))
	}
	return address, ok, err
}
