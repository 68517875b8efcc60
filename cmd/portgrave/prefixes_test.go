package main

import (
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

func TestPrefixWords(t *testing.T) {
	all := firewall.MustPrefixes("0.0.0.0/0", "::/0")
	for _, c := range []struct {
		p    firewall.Prefixes
		want string
	}{
		{firewall.Prefixes{}, "nobody"},
		{all, "everywhere"},
		{firewall.MustPrefixes("::/0"), "::/0"},
		{firewall.MustPrefixes("10.0.0.0/8", "fd00::/8"), "10.0.0.0/8 fd00::/8"},
		{firewall.MustPrefixes("1.0.0.0/8", "3.0.0.0/8", "5.0.0.0/8", "7.0.0.0/8", "9.0.0.0/8"), "1.0.0.0/8 3.0.0.0/8 5.0.0.0/8 … (5 in all)"},
		{all.Minus(firewall.MustPrefixes("64.0.0.0/3")), "0.0.0.0/0 ::/0 without 64.0.0.0/3"},
		{all.Minus(firewall.MustPrefixes("0.0.0.0/0", "::1/128", "fe80::/10")), "::/0 without ::1/128 fe80::/10"},
		{firewall.MustPrefixes("10.0.0.0/8", "::/0").Minus(firewall.MustPrefixes("::1/128")), "10.0.0.0/8 ::/0 without ::1/128"},
		{firewall.MustPrefixes("0.0.0.0/1"), "0.0.0.0/1"},
	} {
		if got := prefixWords(c.p); got != c.want {
			t.Errorf("%v: %q, want %q", c.p.Strings(), got, c.want)
		}
	}
}
