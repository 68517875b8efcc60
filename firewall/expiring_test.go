package firewall

import (
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

func TestExpiringIn(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	source := func(p string, left time.Duration) ExpiringSource {
		return ExpiringSource{netip.MustParsePrefix(p), now.Add(left)}
	}
	svc := Service{Expiring: []ExpiringSource{
		source(
			"10.0.0.0/8",
			time.Hour,
		), source("192.0.2.0/24", 0), source("2001:db8::/32", -time.Hour),
	}}
	for _, c := range []struct {
		svc  Service
		f    address.Family
		want int
		any  bool
	}{
		{svc, address.IPv4, 1, true},
		{svc, address.IPv6, 0, true}, // the set stays when its last source has ended
		{Service{}, address.IPv4, 0, false},
		{Service{Expiring: svc.Expiring[:2]}, address.IPv6, 0, false},
	} {
		if list, any := c.svc.ExpiringIn(c.f, now); len(list) != c.want || any != c.any {
			t.Errorf("%s: got %v, %v, want %d, %v", c.f, list, any, c.want, c.any)
		}
	}
}

func TestSameEnd(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		a, b time.Time
		want bool
	}{
		{time.Time{}, time.Time{}, true},
		{at, time.Time{}, false},
		{time.Time{}, at, false},
		{at, at.Add(ExpiryTolerance), true},
		{at.Add(ExpiryTolerance), at, true},
		{at, at.Add(ExpiryTolerance + 1), false},
	} {
		if got := SameEnd(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: got %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestEnding(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for until, want := range map[time.Time]bool{
		{}:                                     false, // it stays for good
		now.Add(-time.Hour):                    true,
		now:                                    true,
		now.Add(ExpiryTolerance):               false,
		now.Add(ExpiryTolerance - time.Second): true,
	} {
		if got := Ending(until, now); got != want {
			t.Errorf("%s: got %v, want %v", until, got, want)
		}
	}
}
