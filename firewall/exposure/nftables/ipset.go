package nftables

import (
	"context"
	"fmt"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// IPSET_CMD_GET_BYINDEX and its attributes (include/uapi/linux/netfilter/ipset/ip_set.h); protocol
// 7 has it, since Linux 4.20.
const (
	subsystemIPSet  = 6  // NFNL_SUBSYS_IPSET
	ipsetGetByIndex = 15 // IPSET_CMD_GET_BYINDEX
	ipsetProtocol   = 1  // IPSET_ATTR_PROTOCOL
	ipsetName       = 2  // IPSET_ATTR_SETNAME
	ipsetIndex      = 11 // IPSET_ATTR_INDEX
	ipsetVersion    = 7
)

// IPSetName is the name of the ipset with an index, which is all that a rule holds. It wraps the
// kernel's refusals: ENOENT if there is none.
func IPSetName(ctx context.Context, conn *netlink.Conn, index uint16) (string, error) {
	request := netlink.Netfilter(
		subsystemIPSet,
		ipsetGetByIndex,
		unix.AF_UNSPEC,
		0,
		func(e *netlink.Encoder) {
			e.Uint8(ipsetProtocol, ipsetVersion)
			e.Uint16(ipsetIndex|unix.NLA_F_NET_BYTEORDER, index) // which ipset asks for
		},
	)
	name := ""
	err := conn.Ask(ctx, request, func(m netlink.Message) error {
		a, err := netlink.Parse(m.Attributes)
		name = a.String(ipsetName)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ipset number %d: %w", index, err)
	}
	return name, nil
}
