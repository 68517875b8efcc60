package hostview

import (
	"fmt"
	"net"
	"net/netip"
)

// Connected lists the networks that the host is part of, by the addresses of its interfaces but
// the loopback ones, in the calling thread's network namespace.
func Connected() (out []netip.Prefix, err error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	for _, a := range addresses {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		address, ok := netip.AddrFromSlice(n.IP)
		bits, _ := n.Mask.Size()
		if address = address.Unmap(); ok && !address.IsLoopback() {
			out = append(out, netip.PrefixFrom(address, bits))
		}
	}
	return out, nil
}
