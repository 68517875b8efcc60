package hostview

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// link reads struct ifinfomsg and IFLA_* (include/uapi/linux/if_link.h).
func link(h *exposure.Host, m netlink.Message) (i exposure.Interface, ok bool, err error) {
	flags := netlink.Native(m.Header[8:12])
	a, err := netlink.Parse(m.Attributes)
	if err != nil {
		return i, false, err
	}
	i = exposure.Interface{
		Index: int(int32(netlink.Native(m.Header[4:8]))),
		Name:  a.String(unix.IFLA_IFNAME),
		Up:    flags&unix.IFF_UP != 0,
		// IFF_LOWER_UP is the kernel's netif_carrier_ok.
		NoCarrier: flags&unix.IFF_UP != 0 && flags&unix.IFF_LOWER_UP == 0,
		Loopback:  flags&unix.IFF_LOOPBACK != 0,
		// arp_constructor in net/ipv4/arp.c, ndisc_constructor in net/ipv6/ndisc.c
		NoNeighbours: flags&(unix.IFF_NOARP|unix.IFF_POINTOPOINT) != 0,
		Ethernet:     netlink.Native(m.Header[2:4]) == unix.ARPHRD_ETHER,
		Master:       int(netlink.Native(a.Bytes(unix.IFLA_MASTER))),
		Group:        uint32(netlink.Native(a.Bytes(unix.IFLA_GROUP))),
		Link:         int(netlink.Native(a.Bytes(unix.IFLA_LINK))),
	}
	// Attributes has no room for its number.
	if err := netlink.Each(m.Attributes, func(kind uint16, _ []byte) error {
		i.LinkElsewhere = i.LinkElsewhere || kind == unix.IFLA_LINK_NETNSID
		return nil
	}); err != nil {
		return i, false, err
	}
	info, err := netlink.Parse(a.Bytes(unix.IFLA_LINKINFO))
	if err != nil {
		return i, false, err
	}
	i.Kind = info.String(unix.IFLA_INFO_KIND)
	if info.String(unix.IFLA_INFO_SLAVE_KIND) == "bridge" {
		port, err := netlink.Parse(info.Bytes(unix.IFLA_INFO_SLAVE_DATA))
		if err != nil {
			return i, false, err
		}
		i.Hairpin = netlink.Native(port.Bytes(unix.IFLA_BRPORT_MODE)) != 0
	}
	err = netlink.Each(info.Bytes(unix.IFLA_INFO_DATA), func(kind uint16, data []byte) error {
		switch n := netlink.Native(data); {
		case i.Kind == "vrf" && kind == vrfTable:
			i.VRFTable = uint32(n)
		// A bridge can call the IP hooks by itself where net.bridge.bridge-nf-call-* don't ask for
		// it.
		case i.Kind == "bridge" && kind == bridgeCallIPTables:
			h.BridgeCallIPTables = h.BridgeCallIPTables || n != 0
		case i.Kind == "bridge" && kind == bridgeCallIP6Tables:
			h.BridgeCallIP6Tables = h.BridgeCallIP6Tables || n != 0
		}
		return nil
	})
	return i, true, err
}

// include/uapi/linux/if_link.h
const (
	vrfTable            = 1  // IFLA_VRF_TABLE
	bridgeCallIPTables  = 36 // IFLA_BR_NF_CALL_IPTABLES
	bridgeCallIP6Tables = 37 // IFLA_BR_NF_CALL_IP6TABLES
)

// interfaceAddress is an address of an interface.
type interfaceAddress struct {
	index     int
	prefix    netip.Prefix
	tentative bool
	hostScope bool
}

// parseAddress reads struct ifaddrmsg and IFA_* (include/uapi/linux/if_addr.h). An address that
// another host turned out to have isn't this host's.
func parseAddress(m netlink.Message) (out interfaceAddress, ok bool, err error) {
	a, err := netlink.Parse(m.Attributes)
	address, ok := netip.AddrFromSlice(a.Bytes(unix.IFA_LOCAL))
	if !ok { // IPv6 has no IFA_LOCAL but on point-to-point links
		address, ok = netip.AddrFromSlice(a.Bytes(unix.IFA_ADDRESS))
	}
	bits := int(m.Header[1])
	flags := m.Header[2] // the lowest eight
	out = interfaceAddress{
		index:     int(netlink.Native(m.Header[4:8])),
		prefix:    netip.PrefixFrom(address, bits),
		tentative: flags&unix.IFA_F_TENTATIVE != 0,
		hostScope: m.Header[3] >= unix.RT_SCOPE_HOST,
	}
	return out, ok && bits <= address.BitLen() && flags&unix.IFA_F_DADFAILED == 0, err
}
