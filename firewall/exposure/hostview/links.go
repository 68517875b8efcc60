package hostview

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// link reads struct ifinfomsg and IFLA_* (include/uapi/linux/if_link.h).
func link(h *exposure.Host, m message) error {
	i := exposure.Interface{Index: int(int32(binary.NativeEndian.Uint32(m.header[4:])))}
	flags := binary.NativeEndian.Uint32(m.header[8:])
	i.Up, i.Loopback = flags&unix.IFF_UP != 0, flags&unix.IFF_LOOPBACK != 0
	i.Ethernet = binary.NativeEndian.Uint16(m.header[2:]) == unix.ARPHRD_ETHER
	err := attributes(m.attributes, func(a *netlink.AttributeDecoder) {
		switch a.Type() {
		case unix.IFLA_IFNAME:
			i.Name = a.String()
		case unix.IFLA_MASTER:
			i.Master = int(a.Uint32())
		case unix.IFLA_GROUP:
			i.Group = a.Uint32()
		case unix.IFLA_LINKINFO:
			a.Nested(func(info *netlink.AttributeDecoder) error { return linkInfo(h, &i, info) })
		}
	})
	if err != nil {
		return err
	}
	h.Interfaces = append(h.Interfaces, i)
	return nil
}

func linkInfo(h *exposure.Host, i *exposure.Interface, a *netlink.AttributeDecoder) error {
	var data []byte
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_INFO_KIND:
			i.Kind = a.String()
		case unix.IFLA_INFO_DATA:
			data = a.Bytes()
		}
	}
	if err := a.Err(); err != nil {
		return err
	}
	return attributes(data, func(a *netlink.AttributeDecoder) {
		switch {
		case i.Kind == "vrf" && a.Type() == vrfTable:
			i.VRFTable = a.Uint32()
		// A bridge can call the IP hooks by itself where net.bridge.bridge-nf-call-* don't ask for it.
		case i.Kind == "bridge" && a.Type() == bridgeCallIPTables:
			h.BridgeCallIPTables = h.BridgeCallIPTables || a.Uint8() != 0
		case i.Kind == "bridge" && a.Type() == bridgeCallIP6Tables:
			h.BridgeCallIP6Tables = h.BridgeCallIP6Tables || a.Uint8() != 0
		}
	})
}

// include/uapi/linux/if_link.h
const (
	vrfTable            = 1  // IFLA_VRF_TABLE
	bridgeCallIPTables  = 36 // IFLA_BR_NF_CALL_IPTABLES
	bridgeCallIP6Tables = 37 // IFLA_BR_NF_CALL_IP6TABLES
)

// address reads struct ifaddrmsg and IFA_* (include/uapi/linux/if_addr.h) into its interface.
func address(h *exposure.Host, m message) error {
	bits, index := int(m.header[1]), int(binary.NativeEndian.Uint32(m.header[4:]))
	var local, peer netip.Addr
	err := attributes(m.attributes, func(a *netlink.AttributeDecoder) {
		switch a.Type() {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.Bytes())
		case unix.IFA_ADDRESS:
			peer, _ = netip.AddrFromSlice(a.Bytes())
		}
	})
	if err != nil {
		return err
	}
	if !local.IsValid() { // IPv6 has no IFA_LOCAL but on point-to-point links
		local = peer
	}
	if i := h.ByIndex(index); i != nil && local.IsValid() && bits <= local.BitLen() {
		i.Addresses = append(i.Addresses, netip.PrefixFrom(local, bits))
	}
	return nil
}

// attributes walks through netlink attributes.
func attributes(b []byte, each func(*netlink.AttributeDecoder)) error {
	a, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for a.Next() {
		each(a)
	}
	return a.Err()
}
