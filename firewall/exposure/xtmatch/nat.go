package xtmatch

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Translation holds the options of DNAT, SNAT, REDIRECT and MASQUERADE, as in struct nf_nat_range2.
// The zero Addr and nil leave a part unchanged.
type Translation struct {
	Addr, AddrMax netip.Addr
	Ports         *exposure.Range
	// Base is the port that maps to the first of Ports ("3000" in ":3000-4000/3000"); nil if not
	// given.
	Base *uint16
	Text string
}

// NAT is the translation. It ends the chain by itself.
func NAT(kind exposure.NATKind, family address.Family, t Translation) exposure.NAT {
	n := exposure.NAT{Kind: kind, Family: ModelFamily(family), Text: t.Text}
	if t.Addr.IsValid() {
		n.Addr = constant(exposure.Address(t.Addr))
		if t.AddrMax.IsValid() && t.AddrMax != t.Addr {
			n.AddrMax = constant(exposure.Address(t.AddrMax))
		}
	}
	if t.Ports != nil {
		n.Port = constant(t.Ports.From)
		if t.Ports.To != t.Ports.From {
			n.PortMax = constant(t.Ports.To)
		}
		if t.Base != nil {
			n.PortBase = constant(exposure.Number(uint64(*t.Base)))
		}
	}
	return n
}

func constant(v exposure.Value) *exposure.Operand {
	o := exposure.Const(v)
	return &o
}

// NetMap is NETMAP --to a prefix: the address keeps its host part. It maps the destination in
// prerouting and output, and the source in input and postrouting (net/netfilter/xt_NETMAP.c).
func NetMap(kind exposure.NATKind, family address.Family, to netip.Prefix) exposure.NAT {
	side := Destination
	if kind == exposure.NATSource {
		side = Source
	}
	network := exposure.Prefix(to)
	addr := exposure.Of(side.Address(family)).
		And(network.From.Xor(network.To)).
		XorWith(network.From)
	return exposure.NAT{Kind: kind, Family: ModelFamily(family), Addr: &addr}
}

// TProxy is TPROXY: --on-ip (the zero Addr if not given), --on-port (0 if not), --tproxy-mark.
func TProxy(
	family address.Family,
	addr netip.Addr,
	port uint16,
	mark, mask uint32,
) []exposure.Statement {
	t := exposure.TProxy{Family: ModelFamily(family), OrDrop: true}
	if addr.IsValid() && !addr.IsUnspecified() {
		t.Addr = constant(exposure.Address(addr))
	}
	if port != 0 {
		t.Port = constant(exposure.Number(uint64(port)))
	}
	out := []exposure.Statement{t}
	if mark != 0 || mask != 0 {
		out = append(out, SetMark(exposure.FieldMark, mark, mask))
	}
	return append(out, exposure.Verdict{Kind: exposure.VerdictAccept})
}

// ModelFamily is the model's family for an IP version.
func ModelFamily(f address.Family) exposure.Family {
	if f == address.IPv6 {
		return exposure.FamilyIPv6
	}
	return exposure.FamilyIPv4
}
