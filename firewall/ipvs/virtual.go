package ipvs

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netdump"
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
	from := netdump.Dialer(netdump.Dial)
	links := request(unix.RTM_GETLINK, unix.SizeofIfInfomsg)
	indexes, err := netdump.Table(ctx, from, unix.NETLINK_ROUTE, links, virtualInterface)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	out := map[netip.Addr]bool{}
	if len(indexes) == 0 {
		return out, nil
	}
	found, err := netdump.Table(
		ctx,
		from,
		unix.NETLINK_ROUTE,
		request(unix.RTM_GETADDR, unix.SizeofIfAddrmsg),
		func(b []byte) (netip.Addr, bool, error) { return addressOf(b, indexes) },
	)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	for _, a := range found {
		out[a] = true
	}
	return out, nil
}

// request asks for all of a table: a header of zeros, of a size, names none.
func request(kind netlink.HeaderType, size int) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: kind}, Data: make([]byte, size)}
}

// virtualInterface is the index of an interface that holds addresses for IPVS alone: struct
// ifinfomsg and IFLA_* (include/uapi/linux/if_link.h).
func virtualInterface(b []byte) (index uint32, wanted bool, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return 0, false, netdump.ErrTruncated
	}
	a, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return 0, false, err
	}
	for a.Next() {
		if a.Type() == unix.IFLA_IFNAME {
			wanted = slices.Contains(firewall.VirtualInterfaces, a.String())
		}
	}
	return binary.NativeEndian.Uint32(b[4:]), wanted, a.Err()
}

// addressOf is an address of one of some interfaces: struct ifaddrmsg and IFA_*
// (include/uapi/linux/if_addr.h).
func addressOf(b []byte, indexes []uint32) (address netip.Addr, wanted bool, err error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return address, false, netdump.ErrTruncated
	}
	if !slices.Contains(indexes, binary.NativeEndian.Uint32(b[4:])) {
		return address, false, nil
	}
	a, err := netlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return address, false, err
	}
	for a.Next() {
		// IPv4 has both where there is a peer, and the local one is ours; IPv6 has the address alone.
		if a.Type() == unix.IFA_LOCAL || a.Type() == unix.IFA_ADDRESS && !address.IsValid() {
			address, _ = netip.AddrFromSlice(a.Bytes())
		}
	}
	return address, address.IsValid(), a.Err()
}
