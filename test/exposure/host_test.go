package exposure

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/test/lab"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readHost takes the facts of a node that the evaluator needs.
func readHost(t testing.TB, n *lab.Node) *exposure.Host {
	t.Helper()
	h := &exposure.Host{}
	err := n.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			a := l.Attrs()
			i := exposure.Interface{Name: a.Name, Index: a.Index, Up: a.Flags&net.FlagUp != 0, Loopback: a.Flags&net.FlagLoopback != 0,
				Ethernet: len(a.HardwareAddr) == 6, Kind: l.Type(), Group: a.Group, Master: a.MasterIndex}
			addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
			if err != nil {
				return err
			}
			for _, x := range addrs {
				ip, _ := netip.AddrFromSlice(x.IP)
				bits, _ := x.Mask.Size()
				i.Addresses = append(i.Addresses, netip.PrefixFrom(ip.Unmap(), bits))
			}
			i.Sysctls.RPFilter = int(sysctl("net/ipv4/conf/" + a.Name + "/rp_filter")[0] - '0')
			i.Sysctls.Forwarding4 = sysctl("net/ipv4/conf/"+a.Name+"/forwarding") == "1"
			h.Interfaces = append(h.Interfaces, i)
		}
		h.All.RPFilter = int(sysctl("net/ipv4/conf/all/rp_filter")[0] - '0')
		h.All.Forwarding6 = sysctl("net/ipv6/conf/all/forwarding") == "1"
		h.IPForward = sysctl("net/ipv4/ip_forward") == "1"
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			for _, r := range routes {
				dest := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
				if family == netlink.FAMILY_V6 {
					dest = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
				}
				if r.Dst != nil {
					ip, _ := netip.AddrFromSlice(r.Dst.IP)
					bits, _ := r.Dst.Mask.Size()
					dest = netip.PrefixFrom(ip.Unmap(), bits)
				}
				h.Routes = append(h.Routes, exposure.Route{Table: uint32(r.Table), Type: exposure.RouteType(r.Type), Dest: dest, Metric: uint32(r.Priority),
					NextHops: []exposure.NextHop{{Index: r.LinkIndex}}})
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func sysctl(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil || len(b) == 0 {
		return "0"
	}
	return strings.TrimSpace(string(b))
}
