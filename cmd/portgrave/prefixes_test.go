package main

import (
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
)

func TestPrefixWords(t *testing.T) {
	all := address.Must("0.0.0.0/0", "::/0")
	for _, c := range []struct {
		p    address.Set
		want string
	}{
		{address.Set{}, "nobody"},
		{all, "everywhere"},
		{address.Must("::/0"), "::/0"},
		{address.Must("10.0.0.0/8", "fd00::/8"), "10.0.0.0/8 fd00::/8"},
		{address.Must("1.0.0.0/8", "3.0.0.0/8", "5.0.0.0/8", "7.0.0.0/8", "9.0.0.0/8"), "1.0.0.0/8 3.0.0.0/8 5.0.0.0/8 … (5 in all)"},
		{all.Minus(address.Must("64.0.0.0/3")), "0.0.0.0/0 ::/0 without 64.0.0.0/3"},
		{all.Minus(address.Must("0.0.0.0/0", "::1/128", "fe80::/10")), "::/0 without ::1/128 fe80::/10"},
		{address.Must("10.0.0.0/8", "::/0").Minus(address.Must("::1/128")), "10.0.0.0/8 ::/0 without ::1/128"},
		{address.Must("0.0.0.0/1"), "0.0.0.0/1"},
	} {
		if got := prefixWords(c.p); got != c.want {
			t.Errorf("%v: %q, want %q", c.p.Strings(), got, c.want)
		}
	}
}
