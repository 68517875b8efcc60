package policy

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// addEntry adds an address, a CIDR or a range. The error says what to write instead.
func addEntry(b *address.Builder, entry []byte) error {
	if addFast(b, entry) {
		return nil
	}
	first, last, isRange := bytes.Cut(entry, []byte("-"))
	first, last = bytes.TrimSpace(first), bytes.TrimSpace(last)
	if isRange && len(first) > 0 && !bytes.ContainsAny(first, " \t") {
		return addRange(b, entry, first, last)
	}
	p, err := parseEntry(string(entry))
	if err == nil {
		err = b.Add(p)
	}
	return err
}

// addRange adds the addresses from first to last, which entry has.
func addRange(b *address.Builder, entry, first, last []byte) error {
	from4, ok := parseIPv4(first)
	if to4, good := parseIPv4(last); ok && good && from4 <= to4 {
		b.AddV4(address.Range[address.V4]{First: from4, Last: to4})
		return nil
	}
	from, to, err := parseRange(string(entry), string(first), string(last))
	if err != nil {
		return err
	}
	return b.AddRange(from, to)
}

// parseRange reads the two ends of a range, which stands as whole in the list. The error says what
// to write instead.
func parseRange(whole, first, last string) (from, to netip.Addr, err error) {
	from, err1 := netip.ParseAddr(first)
	to, err2 := netip.ParseAddr(last)
	switch {
	case err1 == nil && last == "":
		return from, to, fmt.Errorf("%q is a range without its last address; write that, too, or "+
			"%s for the one address", whole, from)
	case err1 == nil && from.Is4() && err2 != nil && isDigits([]byte(last)):
		return from, to, fmt.Errorf("%q: write both addresses of a range in full%s",
			whole, shortRangeHint(from, last))
	case err1 != nil || err2 != nil:
		return from, to, fmt.Errorf("%q is not an address, a CIDR or a range of addresses%s",
			whole, rangeHint(first, last))
	case from.Zone() != "" || to.Zone() != "":
		return from, to, fmt.Errorf("%q has a zone; write the range without it", whole)
	case from.Is4In6() || to.Is4In6():
		return from, to, fmt.Errorf("%q has an IPv4-mapped IPv6 address, which never appears on "+
			"the wire; write %s-%s", whole, from.Unmap(), to.Unmap())
	case from.Is4() != to.Is4():
		return from, to, fmt.Errorf("%q: both addresses of a range are of one family", whole)
	case to.Less(from):
		return from, to, fmt.Errorf("%q: the range is reversed; write %s-%s", whole, last, first)
	}
	return from, to, nil
}

// shortRangeHint writes a range out whose end is given as its last number; "" if it can't be.
func shortRangeHint(from netip.Addr, last string) string {
	stem := from.String()
	to, err := netip.ParseAddr(stem[:strings.LastIndexByte(stem, '.')+1] + last)
	if err != nil || to.Less(from) {
		return ""
	}
	return fmt.Sprintf(": %s-%s", from, to)
}

// rangeHint says what is wrong with a range whose ends are not addresses.
func rangeHint(first, last string) string {
	if strings.Contains(first, "/") || strings.Contains(last, "/") {
		return "; a range goes from one address to another, without prefix lengths"
	}
	if _, err := netip.ParseAddr(first); err == nil && strings.ContainsAny(last, " \t") {
		return commentHint(last)
	}
	return nameHint(first + "-" + last)
}

// isAddressOrCIDR is isPrefix without the check of host bits. It allocates nothing for other text.
func isAddressOrCIDR(text []byte) bool {
	address, _, _ := bytes.Cut(text, []byte("/"))
	if bytes.Count(address, []byte(".")) != 3 && bytes.Count(address, []byte(":")) < 2 {
		return false
	}
	_, err := netip.ParseAddr(string(address))
	return err == nil
}

func isDigits(s []byte) bool {
	return len(s) > 0 && len(bytes.Trim(s, "0123456789")) == 0
}
