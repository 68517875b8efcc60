package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// parsePrefix reads an address or CIDR. A bare address is the prefix of just that address. The
// error says what to write instead.
func parsePrefix(s string) (netip.Prefix, error) {
	addrText, bitsText, isPrefix := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(addrText)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address or CIDR%s", s, addressHint(addrText))
	}
	if addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q has a zone; write %s and name the interface in interfaces", s, addr.WithZone(""))
	}
	if addr.Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4-mapped IPv6 address, which never appears on the wire; write %s", s, unmapped(addr, bitsText, isPrefix))
	}
	if !isPrefix {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q: the prefix length of an %s CIDR is a number from 0 to %d", s, familyName(addr), addr.BitLen())
	}
	if masked := p.Masked(); masked != p {
		return netip.Prefix{}, fmt.Errorf("%q has host bits set; write %s for the network, or %s for the one address", s, masked, addr)
	}
	return p, nil
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// addressHint guesses what went wrong with a bad address.
func addressHint(s string) string {
	switch {
	case strings.Count(s, ".") == 3 && strings.ContainsAny(s, "0123456789") && !strings.ContainsAny(s, ":-"):
		for _, part := range strings.Split(s, ".") {
			if len(part) > 1 && part[0] == '0' {
				return "; write its numbers without leading zeros"
			}
		}
		return "; each of its four numbers is 0 to 255"
	case strings.Contains(s, "-"):
		return "; write a range as CIDRs"
	case strings.Count(s, ".") > 0 && strings.Count(s, ".") < 3 && strings.Trim(s, "0123456789.") == "":
		return "; write all four numbers"
	}
	return ""
}

func unmapped(a netip.Addr, bitsText string, isPrefix bool) string {
	plain := a.Unmap()
	var bits int
	if _, err := fmt.Sscanf(bitsText, "%d", &bits); isPrefix && err == nil && bits >= 96 && bits <= 128 {
		return netip.PrefixFrom(plain, bits-96).Masked().String()
	}
	return plain.String()
}

// looksLikeAddress tells a mistyped address from a network's name.
func looksLikeAddress(s string) bool {
	return strings.ContainsAny(s, ":/") || strings.Trim(s, "0123456789.-") == ""
}
