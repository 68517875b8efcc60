package xt

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// vrfKind is what the kernel calls a VRF (vrf_link_ops, drivers/net/vrf.c).
const vrfKind = "vrf"

// vrfs lists the VRFs of the calling thread's network namespace by name, in order. No match of
// xtables tells the kind of an interface.
func vrfs(ctx context.Context) ([]string, error) {
	request := netlink.Request{
		Kind:   unix.RTM_GETLINK,
		Header: make([]byte, unix.SizeofIfInfomsg),
		Attributes: func(e *netlink.Encoder) {
			info := e.Nest(unix.IFLA_LINKINFO)
			e.String(unix.IFLA_INFO_KIND, vrfKind) // the kernel leaves out others
			e.EndNest(info)
		},
	}
	names, err := netlink.Table(ctx, netlink.Dialer(netlink.Dial), unix.NETLINK_ROUTE, request,
		vrfName)
	if err != nil {
		return nil, fmt.Errorf("listing VRFs: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasSuffix(name, "+") // to iptables, every name that begins so
	})
	slices.Sort(names)
	return names, nil
}

// vrfName is the name of an interface if it is a VRF: struct ifinfomsg and IFLA_*
// (include/uapi/linux/if_link.h).
func vrfName(m netlink.Message) (name string, isVRF bool, err error) {
	a, err := netlink.Parse(m.Attributes)
	if err != nil {
		return "", false, err
	}
	info, err := netlink.Parse(a.Bytes(unix.IFLA_LINKINFO))
	return a.String(unix.IFLA_IFNAME), info.String(unix.IFLA_INFO_KIND) == vrfKind, err
}
