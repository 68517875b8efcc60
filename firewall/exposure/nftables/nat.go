package nftables

import (
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtmatch"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// Flags of nat, masq and redir: NF_NAT_RANGE_* (include/uapi/linux/netfilter/nf_nat.h).
var natFlags = []struct {
	bit  uint32
	word string
}{{1 << 2, "random"}, {1 << 3, "persistent"}, {1 << 4, "fully-random"}}

const natNetmap = 1 << 6

func natText(flags uint32) string {
	var words []string
	for _, f := range natFlags {
		if flags&f.bit != 0 {
			words = append(words, f.word)
		}
	}
	return strings.Join(words, ",")
}

// nat is snat and dnat (net/netfilter/nft_nat.c).
func (t *translator) nat(e kernel.NAT) {
	flags := e.Flags
	n := exposure.NAT{Kind: exposure.NATSource, Text: natText(flags)}
	if e.Type == unix.NFT_NAT_DNAT {
		n.Kind = exposure.NATDestination
	}
	switch n.Family = exposure.Family(e.Family); n.Family {
	case exposure.FamilyIPv4, exposure.FamilyIPv6, exposure.FamilyInet:
	default:
		t.unknownEffect("nat of a family that there isn't")
		return
	}
	size := 16
	if n.Family == exposure.FamilyIPv4 {
		size = 4
	}
	n.Addr, n.AddrMax = t.bounds(e.AddrMin, e.AddrMax, size)
	n.Port, n.PortMax = t.bounds(e.ProtoMin, e.ProtoMax, 2)
	if flags&natNetmap != 0 {
		n.Addr, n.AddrMax = netmap(n)
	}
	t.add(n)
}

// bounds reads what two registers hold. The second is nil if it isn't given or is the first.
func (t *translator) bounds(first, last kernel.Register, n int) (from, to *exposure.Operand) {
	at, ok := first.Offset()
	if !ok {
		return nil, nil
	}
	low := t.registers.one(at, n, network)
	from = &low
	end, ok := last.Offset()
	if !ok || end == at {
		return from, nil
	}
	high := t.registers.one(end, n, network)
	if c, ok := high.IsConst(); ok {
		if d, ok := low.IsConst(); ok && c == d {
			return from, nil
		}
	}
	return from, &high
}

// netmap keeps the host part of the address. The network's first and last address, which the kernel
// makes the mask from, are constants; if they come from a map, any address between the two is
// possible.
func netmap(n exposure.NAT) (from, to *exposure.Operand) {
	if n.Addr == nil || n.AddrMax == nil || n.Family == exposure.FamilyInet {
		return n.Addr, n.AddrMax
	}
	low, ok1 := n.Addr.IsConst()
	high, ok2 := n.AddrMax.IsConst()
	if !ok1 || !ok2 {
		return n.Addr, n.AddrMax
	}
	side := xtmatch.Destination
	if n.Kind == exposure.NATSource {
		side = xtmatch.Source
	}
	family := address.IPv4
	if n.Family == exposure.FamilyIPv6 {
		family = address.IPv6
	}
	o := exposure.Of(side.Address(family))
	o = o.And(low.Xor(high)).XorWith(low.AndNot(low.Xor(high)))
	return &o, nil
}

func (t *translator) masquerade(e kernel.Masquerade) {
	n := exposure.NAT{Kind: exposure.NATMasquerade, Family: t.natFamily(), Text: natText(e.Flags)}
	n.Port, n.PortMax = t.bounds(e.ProtoMin, e.ProtoMax, 2)
	t.add(n)
}

func (t *translator) redirect(e kernel.Redirect) {
	n := exposure.NAT{Kind: exposure.NATRedirect, Family: t.natFamily(), Text: natText(e.Flags)}
	n.Port, n.PortMax = t.bounds(e.ProtoMin, e.ProtoMax, 2)
	t.add(n)
}

// natFamily is the table's family, whose packets masq and redir translate: in inet both versions'.
func (t *translator) natFamily() exposure.Family { return t.table.Family }

func (t *translator) tproxy(e kernel.TProxy) {
	p := exposure.TProxy{Family: exposure.Family(e.Family)}
	if p.Family == exposure.FamilyUnspec {
		p.Family = t.table.Family // the packet's own
	}
	size := 4
	if p.Family == exposure.FamilyIPv6 {
		size = 16
	}
	p.Addr, _ = t.bounds(e.Addr, 0, size)
	p.Port, _ = t.bounds(e.Port, 0, 2)
	t.add(p)
}
