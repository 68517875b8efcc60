package address

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func TestShort(t *testing.T) {
	all := Must("0.0.0.0/0", "::/0")
	few := Must("64.0.0.0/3", "::1/128", "fe80::/10")
	networks, host := Must("10.0.0.0/16", "192.0.2.0/24"), Must("10.0.1.1/32")
	for _, c := range []struct{ set, in, out Set }{
		{},
		{all, all, Set{}},
		{Must("10.0.0.0/8", "12.0.0.0/8"), Must("10.0.0.0/8", "12.0.0.0/8"), Set{}},
		{all.Minus(few), all, few},
		{networks.Minus(host), networks, host},
		{Must("255.255.255.255/32", "ffff::1/128"), Must("255.255.255.255/32", "ffff::1/128"), Set{}},
	} {
		if in, out := c.set.Short(); !in.Equal(c.in) || !out.Equal(c.out) {
			t.Errorf("%v: %v without %v, want %v without %v", c.set, in, out, c.in, c.out)
		}
	}
}

func TestShortIsTheSameSetAndNoLonger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := Set{}
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			a := netip.AddrFrom4(
				[4]byte{10, 0, rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "d")},
			)
			if rapid.Bool().Draw(t, "six") {
				a = netip.AddrFrom16([16]byte{0xfd, 15: rapid.Byte().Draw(t, "e")})
			}
			p, err := New(netip.PrefixFrom(a, a.BitLen()-rapid.IntRange(0, 14).Draw(t, "bits")))
			if err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "add") {
				set = set.Union(p)
			} else {
				set = set.Minus(p)
			}
		}
		in, out := set.Short()
		if !in.Minus(out).Equal(set) || in.Len()+out.Len() > set.Len() {
			t.Fatalf("%v: %v without %v", set.Strings(), in.Strings(), out.Strings())
		}
	})
}
