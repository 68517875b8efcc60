package xtables

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// fieldsOf are the fields of one IP version.
type fieldsOf struct {
	source, dest, origSource, origDest, replySource, replyDest exposure.Field
}

var fields4 = fieldsOf{
	exposure.FieldSource4,
	exposure.FieldDest4,
	exposure.FieldCTOrigSource4,
	exposure.FieldCTOrigDest4,
	exposure.FieldCTReplySource4,
	exposure.FieldCTReplyDest4,
}

var fields6 = fieldsOf{
	exposure.FieldSource6,
	exposure.FieldDest6,
	exposure.FieldCTOrigSource6,
	exposure.FieldCTOrigDest6,
	exposure.FieldCTReplySource6,
	exposure.FieldCTReplyDest6,
}

func fieldsFor(f exposure.Family) *fieldsOf {
	if f == exposure.FamilyIPv6 {
		return &fields6
	}
	return &fields4
}

// parseAddress reads an address of a family.
func parseAddress(f exposure.Family, s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Zone() == "" && a.Is6() == (f == exposure.FamilyIPv6)
}

// masked is an address and which of its bits count.
type masked struct {
	address, mask exposure.Value
	prefix        netip.Prefix // valid if the mask has no holes
}

// parseMasked reads "10.0.0.0/8", "10.0.0.1/255.0.0.255", "2001::1/ffff::ffff", "10.0.0.1".
func parseMasked(f exposure.Family, s string) (masked, bool) {
	text, length, slash := strings.Cut(s, "/")
	a, ok := parseAddress(f, text)
	if !ok {
		return masked{}, false
	}
	m := masked{mask: exposure.Ones(a.BitLen())}
	bits := a.BitLen()
	if slash {
		n, err := strconv.ParseUint(length, 10, 8)
		switch full, isMask := parseAddress(f, length); {
		case err == nil && int(n) <= a.BitLen():
			bits = int(n)
			m.mask = m.mask.AndNot(exposure.Ones(a.BitLen() - bits))
		case isMask:
			m.mask = exposure.Address(full)
			bits = contiguous(m.mask, a.BitLen())
		default:
			return masked{}, false
		}
	}
	m.address = exposure.Address(a).And(m.mask)
	if bits >= 0 {
		m.prefix = netip.PrefixFrom(a, bits).Masked()
	}
	return m, true
}

// contiguous is the length of a mask without holes; −1 for one with.
func contiguous(mask exposure.Value, width int) int {
	for n := range width + 1 {
		if mask == exposure.Ones(width).AndNot(exposure.Ones(width-n)) {
			return n
		}
	}
	return -1
}

// matchMasked compares a field as the kernel does: (field & mask) == address.
func matchMasked(field exposure.Field, m masked, not bool) exposure.Match {
	if m.prefix.IsValid() {
		return is(exposure.Of(field), not, exposure.Prefix(m.prefix))
	}
	return is(exposure.Of(field).And(m.mask), not, exposure.One(m.address))
}

// parseRange reads "10.0.0.1-10.0.0.9" or one address.
func parseRange(f exposure.Family, s string) (exposure.Range, bool) {
	from, to, ranged := strings.Cut(s, "-")
	a, ok := parseAddress(f, from)
	b := a
	if ok && ranged {
		b, ok = parseAddress(f, to)
	}
	if !ok || b.Less(a) {
		return exposure.Range{}, false
	}
	return exposure.Range{From: exposure.Address(a), To: exposure.Address(b)}, true
}

// is matches one operand against ranges, or their opposite.
func is(o exposure.Operand, not bool, ranges ...exposure.Range) exposure.Match {
	m := exposure.In(o, ranges...)
	m.Not = not
	return m
}
