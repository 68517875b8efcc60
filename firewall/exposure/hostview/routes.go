package hostview

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// route reads struct rtmsg and RTA_* (include/uapi/linux/rtnetlink.h).
func route(h *exposure.Host, m message) error {
	family, destBits, sourceBits := m.header[0], int(m.header[1]), int(m.header[2])
	flags := binary.NativeEndian.Uint32(m.header[8:])
	if family != unix.AF_INET && family != unix.AF_INET6 || flags&unix.RTM_F_CLONED != 0 { // a cached copy of another one
		return nil
	}
	r := exposure.Route{TOS: m.header[3], Table: uint32(m.header[4]), Type: exposure.RouteType(m.header[7]), Dest: prefix(family, nil, destBits)}
	var single exposure.NextHop
	var several []exposure.NextHop
	err := attributes(m.attributes, func(a *netlink.AttributeDecoder) {
		switch a.Type() {
		case unix.RTA_TABLE: // the header has room for 256 tables only
			r.Table = a.Uint32()
		case unix.RTA_DST:
			r.Dest = prefix(family, a.Bytes(), destBits)
		case unix.RTA_SRC:
			r.Source = prefix(family, a.Bytes(), sourceBits)
		case unix.RTA_PRIORITY:
			r.Metric = a.Uint32()
		case unix.RTA_OIF:
			single.Index = int(a.Uint32())
		case unix.RTA_GATEWAY:
			single.Gateway, _ = netip.AddrFromSlice(a.Bytes())
		case unix.RTA_VIA:
			single.Gateway = via(a.Bytes())
		case unix.RTA_MULTIPATH:
			a.Do(func(b []byte) (err error) { several, err = nextHops(b); return err })
		}
	})
	if err != nil {
		return err
	}
	single.Dead = dead(flags)
	switch {
	case len(several) > 0:
		r.NextHops = several
	case single.Index != 0 || single.Gateway.IsValid():
		r.NextHops = []exposure.NextHop{single}
	}
	h.Routes = append(h.Routes, r)
	return nil
}

// dead: RTNH_F_DEAD 1; RTNH_F_LINKDOWN 16 alone is still used unless ignore_routes_with_linkdown is set, and then the kernel sets DEAD in what it
// prints (fib_nexthop_info in net/ipv4/fib_semantics.c).
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

// via reads struct rtvia: a gateway of the other family.
func via(b []byte) netip.Addr {
	if len(b) < 2 {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(b[2:])
	return a
}

var errShort = errors.New("a list of next hops that is cut off")

// nextHops reads a list of struct rtnexthop, each with attributes behind it.
func nextHops(b []byte) ([]exposure.NextHop, error) {
	var out []exposure.NextHop
	for len(b) > 0 {
		if len(b) < unix.SizeofRtNexthop {
			return nil, errShort
		}
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			return nil, errShort
		}
		n := exposure.NextHop{Index: int(binary.NativeEndian.Uint32(b[4:])), Dead: dead(uint32(b[2]))}
		err := attributes(b[unix.SizeofRtNexthop:length], func(a *netlink.AttributeDecoder) {
			switch a.Type() {
			case unix.RTA_GATEWAY:
				n.Gateway, _ = netip.AddrFromSlice(a.Bytes())
			case unix.RTA_VIA:
				n.Gateway = via(a.Bytes())
			}
		})
		if err != nil {
			return nil, err
		}
		out = append(out, n)
		b = b[min((length+3)&^3, len(b)):]
	}
	return out, nil
}
