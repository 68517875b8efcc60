package hostview

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// route reads struct rtmsg and RTA_* (include/uapi/linux/rtnetlink.h).
func route(m netlink.Message) (r exposure.Route, ok bool, err error) {
	family, destBits, sourceBits := m.Header[0], int(m.Header[1]), int(m.Header[2])
	flags := binary.NativeEndian.Uint32(m.Header[8:])
	// a cached copy of another one
	if family != unix.AF_INET && family != unix.AF_INET6 || flags&unix.RTM_F_CLONED != 0 {
		return r, false, nil
	}
	a, err := netlink.Parse(m.Attributes)
	if err != nil {
		return r, false, err
	}
	r = exposure.Route{
		TOS:    m.Header[3],
		Table:  uint32(m.Header[4]),
		Type:   exposure.RouteType(m.Header[7]),
		Dest:   prefix(family, a.Bytes(unix.RTA_DST), destBits),
		Metric: uint32(netlink.Native(a.Bytes(unix.RTA_PRIORITY))),
	}
	if a.Has(unix.RTA_TABLE) { // the header has room for 256 tables only
		r.Table = uint32(netlink.Native(a.Bytes(unix.RTA_TABLE)))
	}
	if a.Has(unix.RTA_SRC) {
		r.Source = prefix(family, a.Bytes(unix.RTA_SRC), sourceBits)
	}
	if r.NextHops, err = nextHops(a.Bytes(unix.RTA_MULTIPATH)); err != nil {
		return r, false, err
	}
	single := exposure.NextHop{
		Index:   int(netlink.Native(a.Bytes(unix.RTA_OIF))),
		Gateway: gateway(&a),
		Dead:    dead(flags),
	}
	if len(r.NextHops) == 0 && (single.Index != 0 || single.Gateway.IsValid()) {
		r.NextHops = []exposure.NextHop{single}
	}
	return r, true, nil
}

// dead: RTNH_F_DEAD 1; RTNH_F_LINKDOWN 16 alone is still used unless ignore_routes_with_linkdown is
// set, and then the kernel sets DEAD in what it prints (fib_nexthop_info in
// net/ipv4/fib_semantics.c).
func dead(flags uint32) bool { return flags&unix.RTNH_F_DEAD != 0 }

func prefix(family uint8, b []byte, bits int) netip.Prefix {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		a = netip.IPv4Unspecified()
		if family == unix.AF_INET6 {
			a = netip.IPv6Unspecified()
		}
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// gateway is that of a route or of a next hop. RTA_VIA holds struct rtvia: one of the other family.
func gateway(a *netlink.Attributes) netip.Addr {
	g, _ := netip.AddrFromSlice(a.Bytes(unix.RTA_GATEWAY))
	if via := a.Bytes(unix.RTA_VIA); len(via) > 2 {
		g, _ = netip.AddrFromSlice(via[2:])
	}
	return g
}

// nextHops reads a list of struct rtnexthop, each with attributes behind it.
func nextHops(b []byte) ([]exposure.NextHop, error) {
	var out []exposure.NextHop
	for len(b) > 0 {
		if len(b) < unix.SizeofRtNexthop {
			return nil, netlink.ErrMalformed
		}
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			return nil, netlink.ErrMalformed
		}
		a, err := netlink.Parse(b[unix.SizeofRtNexthop:length])
		if err != nil {
			return nil, err
		}
		index := int(binary.NativeEndian.Uint32(b[4:]))
		out = append(
			out,
			exposure.NextHop{Index: index, Gateway: gateway(&a), Dead: dead(uint32(b[2]))},
		)
		b = b[min((length+3)&^3, len(b)):]
	}
	return out, nil
}
