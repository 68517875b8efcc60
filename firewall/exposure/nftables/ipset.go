package nftables

import (
	"context"
	"fmt"

	"github.com/portgrave/portgrave/firewall/nfnetlink"
)

// IPSET_CMD_GET_BYINDEX and its attributes (include/uapi/linux/netfilter/ipset/ip_set.h); protocol 7 has it, since Linux 4.20.
const (
	subsystemIPSet  = 6  // NFNL_SUBSYS_IPSET
	ipsetGetByIndex = 15 // IPSET_CMD_GET_BYINDEX
	ipsetProtocol   = 1  // IPSET_ATTR_PROTOCOL
	ipsetName       = 2  // IPSET_ATTR_SETNAME
	ipsetIndex      = 11 // IPSET_ATTR_INDEX
	ipsetVersion    = 7
)

// IPSetName is the name of the ipset with an index, which is all that a rule holds. It wraps the kernel's refusals: ENOENT if there is none.
func IPSetName(ctx context.Context, conn *nfnetlink.Conn, index uint16) (string, error) {
	attributes := nfnetlink.AppendBytes(nil, ipsetProtocol, []byte{ipsetVersion})
	// NLA_F_NET_BYTEORDER (include/uapi/linux/netlink.h), which ipset asks for.
	attributes = nfnetlink.AppendBytes(attributes, ipsetIndex|1<<14, []byte{byte(index >> 8), byte(index)})
	name := ""
	err := conn.Ask(ctx, nfnetlink.Request{Subsystem: subsystemIPSet, Kind: ipsetGetByIndex, Attributes: attributes}, func(m nfnetlink.Message) error {
		a, err := nfnetlink.Parse(m.Attributes)
		name = a.String(ipsetName)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ipset number %d: %w", index, err)
	}
	return name, nil
}
