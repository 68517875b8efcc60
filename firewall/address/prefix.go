package address

import "net/netip"

// Last is the last address of a prefix.
func Last(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		return range4(p).Last.IP()
	}
	return range6(p).Last.IP()
}

// PrefixOf is the prefix that goes from one address to another of the same family, if there is one.
func PrefixOf(first, last netip.Addr) (netip.Prefix, bool) {
	if first.Is4() {
		return prefixOf(V4Of(first), V4Of(last))
	}
	return prefixOf(V6Of(first), V6Of(last))
}

func prefixOf[N Number[N]](first, last N) (netip.Prefix, bool) {
	end, length := first.block(last)
	return netip.PrefixFrom(first.IP(), length), end == last
}
