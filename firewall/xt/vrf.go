package xt

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall/netdump"
	"golang.org/x/sys/unix"
)

// vrfKind is what the kernel calls a VRF (vrf_link_ops, drivers/net/vrf.c).
const vrfKind = "vrf"

// vrfs lists the VRFs of the calling thread's network namespace by name, in order. No match of
// xtables tells the kind of an interface.
func vrfs(ctx context.Context) ([]string, error) {
	request := netlink.NewAttributeEncoder()
	request.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, vrfKind) // the kernel leaves out others
		return nil
	})
	attributes, err := request.Encode()
	if err != nil {
		return nil, err
	}
	message := netlink.Message{Header: netlink.Header{Type: unix.RTM_GETLINK},
		Data: append(make([]byte, unix.SizeofIfInfomsg), attributes...)}
	names, err := netdump.Table(
		ctx,
		netdump.Dialer(netdump.Dial),
		unix.NETLINK_ROUTE,
		message,
		vrfName,
	)
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
func vrfName(b []byte) (name string, isVRF bool, err error) {
	if len(b) < unix.SizeofIfInfomsg {
		return "", false, netdump.ErrTruncated
	}
	a, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return "", false, err
	}
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_IFNAME:
			name = a.String()
		case unix.IFLA_LINKINFO:
			a.Nested(func(info *netlink.AttributeDecoder) error {
				for info.Next() {
					isVRF = isVRF || info.Type() == unix.IFLA_INFO_KIND && info.String() == vrfKind
				}
				return info.Err()
			})
		}
	}
	return name, isVRF, a.Err()
}
