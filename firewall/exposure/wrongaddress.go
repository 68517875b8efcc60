package exposure

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// WrongPrefix says what is wrong about an address, a prefix or a range "from-to" that no program
// loads; "" for all others, a host's name among them.
func WrongPrefix(s string) string {
	for end := range strings.SplitSeq(s, "-") {
		address, length, _ := strings.Cut(end, "/")
		if part := wrongQuad(address); part != "" {
			return fmt.Sprintf("%s isn't an address: %s is more than 255", address, part)
		}
		a, err := netip.ParseAddr(address)
		n, noNumber := strconv.ParseUint(length, 10, 64)
		if err == nil && noNumber == nil && n > uint64(a.BitLen()) {
			return fmt.Sprintf("%s has %d bits, not %d", address, a.BitLen(), n)
		}
	}
	return ""
}

// wrongQuad returns the first part above 255 of four decimal numbers, "300.0.0.1"; "" if there is
// none.
func wrongQuad(s string) (wrong string) {
	parts := strings.Split(s, ".")
	if len(parts) != 4 {
		return ""
	}
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return ""
		}
		if n > 255 && wrong == "" {
			wrong = part
		}
	}
	return wrong
}
