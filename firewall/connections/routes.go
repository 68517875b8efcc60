package connections

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// rtmsg is struct rtmsg (include/uapi/linux/rtnetlink.h): family, lengths of destination and
// source, tos, table, protocol, scope, type, flags.
func rtmsg(family, dstLen, kind uint8, flags uint32) []byte {
	b := []byte{family, dstLen, 0, 0, 0, 0, 0, kind}
	return binary.NativeEndian.AppendUint32(b, flags)
}

// localTo dumps the routes of type local and returns a test for an address of this host: what "fib
// daddr type local" says in the rules. It covers 127.0.0.0/8 and any-IP prefixes, which no
// interface bears.
func localTo(ctx context.Context, from netlink.Source) (func(netip.Addr) bool, error) {
	exact := map[netip.Addr]bool{}
	var ranges []netip.Prefix
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		list, err := netlink.Table(ctx, from, unix.NETLINK_ROUTE, netlink.Request{
			Kind: unix.RTM_GETROUTE, Header: rtmsg(family, 0, unix.RTN_LOCAL, 0),
		}, parseLocalRoute)
		if family == unix.AF_INET6 && netlink.Absent(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing this host's addresses (rtnetlink): %w", err)
		}
		for _, p := range list {
			if p.IsSingleIP() {
				exact[p.Addr()] = true
			} else {
				ranges = append(ranges, p)
			}
		}
	}
	return func(a netip.Addr) bool {
		if a.IsLoopback() || exact[a] {
			return true
		}
		for _, p := range ranges {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}, nil
}

func parseLocalRoute(m netlink.Message) (p netip.Prefix, ok bool, err error) {
	if m.Header[7] != unix.RTN_LOCAL { // an older kernel does not filter
		return p, false, nil
	}
	err = netlink.Each(m.Attributes, func(kind uint16, data []byte) error {
		if a, valid := netip.AddrFromSlice(data); kind == unix.RTA_DST && valid {
			p = netip.PrefixFrom(a, int(m.Header[1]))
		}
		return nil
	})
	return p, p.IsValid(), err
}

// arrivals tells on which interface packets of a client arrive, from the route to it: right unless
// routing is asymmetric, and "" if there is no one interface. It asks once per address.
type arrivals struct {
	conn  *netlink.Conn // nil: nothing can be told
	byIP  map[netip.Addr]string
	names map[int]string
}

func newArrivals(dial netlink.Dialer) *arrivals {
	conn, err := dial(unix.NETLINK_ROUTE)
	if err != nil {
		conn = nil
	}
	return &arrivals{conn: conn, byIP: map[netip.Addr]string{}, names: map[int]string{}}
}

func (r *arrivals) close() {
	if r.conn != nil {
		_ = r.conn.Close()
	}
}

func (r *arrivals) from(ctx context.Context, client netip.Addr) string {
	if name, known := r.byIP[client]; known {
		return name
	}
	name := r.name(r.routeTo(ctx, client))
	r.byIP[client] = name
	return name
}

// routeTo is the index of the interface of the one route to an address; 0 if there is none, or
// several.
func (r *arrivals) routeTo(ctx context.Context, a netip.Addr) (index int) {
	if r.conn == nil || a.IsLinkLocalUnicast() && a.Is6() { // every link has that prefix
		return 0
	}
	family := uint8(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	// RTM_F_FIB_MATCH asks for the route itself and not for its outcome: with several next hops it
	// has RTA_MULTIPATH and no RTA_OIF, and then the client's packets may arrive on any of them.
	err := r.conn.Ask(ctx, netlink.Request{
		Kind:       unix.RTM_GETROUTE,
		Header:     rtmsg(family, uint8(a.BitLen()), 0, unix.RTM_F_FIB_MATCH),
		Attributes: func(e *netlink.Encoder) { e.Bytes(unix.RTA_DST, a.AsSlice()) },
	}, func(m netlink.Message) error {
		a, err := netlink.Parse(m.Attributes)
		index = int(netlink.Native(a.Bytes(unix.RTA_OIF)))
		return err
	})
	if err != nil {
		return 0
	}
	return index
}

// name is an interface's name; "" for 0 and for one that is gone.
func (r *arrivals) name(index int) string {
	if index == 0 {
		return ""
	}
	if name, known := r.names[index]; known {
		return name
	}
	name := ""
	if i, err := net.InterfaceByIndex(index); err == nil {
		name = i.Name
	}
	r.names[index] = name
	return name
}

// InterfaceTo is the interface of the route to an address, which is where its packets arrive unless
// routing is asymmetric; "" if that can't be told.
func InterfaceTo(a netip.Addr) string {
	r := newArrivals(netlink.Dial)
	defer r.close()
	return r.from(context.Background(), a.Unmap().WithZone(""))
}
