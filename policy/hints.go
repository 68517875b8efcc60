package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// maskHint turns an address and its mask, in bits or as an address, into a CIDR; "" if the mask is
// none.
func maskHint(address, mask string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	if m, err := netip.ParseAddr(mask); err == nil {
		bits, ok := maskBits(m)
		if !ok || m.BitLen() != a.BitLen() {
			return ""
		}
		mask = fmt.Sprint(bits)
	}
	p, err := parsePrefix(address + "/" + mask)
	if err != nil {
		return ""
	}
	return "; write " + p.String()
}

// maskBits counts the ones that a mask begins with. It must have no others.
func maskBits(mask netip.Addr) (bits int, ok bool) {
	for _, b := range mask.AsSlice() {
		for i := 7; i >= 0; i-- {
			if one := b>>i&1 == 1; one && bits%8 == 7-i {
				bits++
			} else if one {
				return 0, false
			}
		}
	}
	return bits, true
}

func nameHint(s string) string { return "" }
