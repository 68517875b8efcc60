package address

import (
	"net/netip"
	"testing"

	"go4.org/netipx"
	"pgregory.net/rapid"
)

func TestEndsOfPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := drawPrefix(t), drawPrefix(t)
		if got, want := Last(p), netipx.PrefixLastIP(p); got != want {
			t.Fatalf("last of %v: %v, want %v", p, got, want)
		}
		for _, last := range []netip.Addr{Last(p), Last(q), p.Addr()} {
			if last.Is4() != p.Addr().Is4() || last.Less(p.Addr()) {
				continue
			}
			got, ok := PrefixOf(p.Addr(), last)
			want, is := netipx.IPRangeFrom(p.Addr(), last).Prefix()
			if ok != is || ok && got != want {
				t.Fatalf("from %v to %v: %v, %v, want %v, %v", p.Addr(), last, got, ok, want, is)
			}
		}
	})
}
