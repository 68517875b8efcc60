package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// parsePrefix reads an address or CIDR. A bare address becomes the prefix of that address. The
// error says what to write instead.
func parsePrefix(s string) (netip.Prefix, error) { return parseHinted(s, addressHint) }

// parseHinted is parseCIDR, but adds a hint to its errors.
func parseHinted(s string, hint func(string) string) (netip.Prefix, error) {
	p, err := parseCIDR(s)
	if hinted := (*unreadableError)(nil); errors.As(err, &hinted) {
		return p, fmt.Errorf("%w%s", err, hint(s))
	}
	return p, err
}

// unreadableError says that a text is not an address or CIDR, without a hint.
type unreadableError struct{ message string }

func (e *unreadableError) Error() string { return e.message }

func unreadable(format string, args ...any) (netip.Prefix, error) {
	return netip.Prefix{}, &unreadableError{fmt.Sprintf(format, args...)}
}

// parseCIDR is parsePrefix without hints for texts that are not an address or CIDR.
func parseCIDR(s string) (netip.Prefix, error) {
	addrText, bitsText, isPrefix := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(addrText)
	if err != nil {
		return unreadable("%q is not an address or CIDR", s)
	}
	if addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf(
			"%q has a zone; write %s and name the interface in interfaces",
			s, yamlScalar(withoutZone(addr, bitsText, isPrefix)))
	}
	if addr.Is4In6() {
		return netip.Prefix{}, fmt.Errorf(
			"%q is an IPv4-mapped IPv6 address, which never appears on the wire; write %s",
			s, unmapped(addr, bitsText, isPrefix))
	}
	if !isPrefix {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil && strings.ContainsAny(bitsText, " \t,;|/") { // more than a length
		return unreadable("%q is not an address or CIDR", s)
	}
	if err != nil {
		return unreadable("%q: the prefix length of an %s CIDR is a number from 0 to %d",
			s, familyName(addr), addr.BitLen())
	}
	if masked := p.Masked(); masked != p {
		return netip.Prefix{}, fmt.Errorf(
			"%q has host bits set; write %s for the network, or %s for the one address",
			s, yamlScalar(masked.String()), yamlScalar(addr.String()))
	}
	return p, nil
}

func familyName(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// rangeCIDRs returns the CIDRs that cover a range.
func rangeCIDRs(from, to netip.Addr) []string {
	var b address.Builder
	if err := b.AddRange(from, to); err != nil {
		return nil
	}
	return b.Set().Strings()
}

// withoutZone returns an address without its zone, with its prefix length if that is valid.
func withoutZone(a netip.Addr, bitsText string, isPrefix bool) string {
	plain := a.WithZone("").String()
	if p, err := netip.ParsePrefix(plain + "/" + bitsText); isPrefix && err == nil {
		return p.Masked().String()
	}
	return plain
}

func unmapped(a netip.Addr, bitsText string, isPrefix bool) string {
	plain := a.Unmap()
	var bits int
	_, err := fmt.Sscanf(bitsText, "%d", &bits)
	if isPrefix && err == nil && bits >= 96 && bits <= 128 {
		return netip.PrefixFrom(plain, bits-96).Masked().String()
	}
	return plain.String()
}

// looksLikeAddress reports whether a text is a mistyped address rather than a network's name.
func looksLikeAddress(s string) bool {
	return strings.ContainsAny(s, ":/") || strings.Trim(s, "0123456789.-") == ""
}
