package xtmatch

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Package nftables tests the options against the kernel. These are options that iptables doesn't
// accept.

func TestIPSetKey(t *testing.T) {
	set := func(columns ...string) *exposure.Set {
		return &exposure.Set{Columns: columns, Width: len(columns)}
	}
	of := func(fields ...exposure.Field) []exposure.Operand {
		var out []exposure.Operand
		for _, f := range fields {
			out = append(out, exposure.Of(f))
		}
		return out
	}
	for _, c := range []struct {
		set       *exposure.Set
		family    address.Family
		sides     []Side
		key       []exposure.Operand
		other, ok bool
	}{
		{set("ipv4_addr", "ifname"), address.IPv4, []Side{Source, Destination}, of(exposure.FieldSource4, exposure.FieldOutName), false, true},
		{set("ipv6_addr", "inet_proto", "inet_service", "ipv6_addr"), address.IPv6, []Side{Destination, Source, Source},
			of(exposure.FieldDest6, exposure.FieldProtocol, exposure.FieldSport, exposure.FieldSource6), false, true},
		{set("ipv4_addr", "mark"), address.IPv4, []Side{Source, Source}, of(exposure.FieldSource4, exposure.FieldMark), false, true},
		{set("ether_addr"), address.IPv4, []Side{Source}, of(exposure.FieldSourceMAC), false, true},
		{set("ipv6_addr"), address.IPv4, []Side{Source}, of(exposure.FieldSource6), true, true},
		{set("ipv4_addr", "inet_service"), address.IPv4, []Side{Source}, of(exposure.FieldSource4, exposure.FieldSport), false, false},
		{set("colour"), address.IPv4, []Side{Source}, nil, false, false},
		{set(), address.IPv4, nil, nil, false, false},
	} {
		key, other, ok := IPSetKey(c.set, c.family, c.sides)
		if ok != c.ok || ok && (other != c.other || !reflect.DeepEqual(key, c.key)) {
			t.Errorf("%v: %v %v %v", c.set.Columns, key, other, ok)
		}
	}
}

func TestConntrackAddressUnderAnyMask(t *testing.T) {
	a := func(s string) exposure.Value { return exposure.Address(netip.MustParseAddr(s)) }
	f := exposure.FieldCTOrigDest4
	for _, c := range []struct {
		value, mask string
		want        exposure.Match
	}{
		{"10.0.0.0", "255.0.0.0", exposure.In(exposure.Of(f), exposure.Prefix(netip.MustParsePrefix("10.0.0.0/8")))},
		{"10.0.0.1", "255.0.0.255", exposure.In(exposure.Of(f).And(a("255.0.0.255")), exposure.One(a("10.0.0.1")))},
		// never holds
		{"10.0.0.1", "255.0.0.0", exposure.In(exposure.Of(f).And(a("255.0.0.0")), exposure.One(a("10.0.0.1")))},
	} {
		if got := ConntrackAddress(f, a(c.value), a(c.mask), false); !reflect.DeepEqual(
			got,
			exposure.Statement(c.want),
		) {
			t.Errorf("%s/%s: %+v", c.value, c.mask, got)
		}
	}
}
