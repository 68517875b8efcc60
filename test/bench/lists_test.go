package main

import (
	"net/netip"
	"slices"
	"testing"
)

func TestListsAreSortedDisjointAndOfTheSize(t *testing.T) {
	for _, family := range []Family{IPv4, IPv6} {
		for _, n := range []int{1, 10, 1000, 50_000} {
			l := NewLists(family, n)
			for name, list := range map[string][]netip.Prefix{
				"initial":  l.Initial,
				"with one": l.WithOne,
				"changed":  l.Changed,
				"other":    l.Other,
			} {
				want := n
				if name == "with one" || name == "changed" {
					want++
				}
				if len(list) != want {
					t.Errorf("%s, %d, %s: %d prefixes, want %d", family, n, name, len(list), want)
				}
				for i, p := range list {
					if p != p.Masked() || p.Overlaps(clientNetwork) ||
						p.Addr().Is4() != (family == IPv4) {
						t.Fatalf("%s, %d, %s: %v", family, n, name, p)
					}
					if i > 0 && (p.Overlaps(list[i-1]) || p.Addr().Compare(list[i-1].Addr()) < 0) {
						t.Fatalf("%s, %d, %s: %v after %v", family, n, name, p, list[i-1])
					}
				}
			}
		}
	}
}

func TestChangesLeadFromListToList(t *testing.T) {
	l := NewLists(IPv4, 10_000)
	if len(l.Percent.Add) != 100 || len(l.Percent.Remove) != 100 || len(l.One.Add) != 1 ||
		len(l.One.Remove) != 0 {
		t.Fatalf(
			"one: +%d −%d; a hundredth: +%d −%d",
			len(l.One.Add),
			len(l.One.Remove),
			len(l.Percent.Add),
			len(l.Percent.Remove),
		)
	}
	apply := func(list []netip.Prefix, c Change) []netip.Prefix {
		kept := slices.DeleteFunc(
			slices.Clone(list),
			func(p netip.Prefix) bool { return slices.Contains(c.Remove, p) },
		)
		return merged(kept, c.Add)
	}
	if !slices.Equal(apply(l.Initial, l.One), l.WithOne) ||
		!slices.Equal(apply(l.WithOne, l.Percent), l.Changed) {
		t.Error("the changes don't lead to the lists")
	}
	if slices.Contains(l.Percent.Remove, l.One.Add[0]) {
		t.Error("what was added before is removed, so one change can't do without the other")
	}
	if !slices.Equal(NewLists(IPv4, 10_000).Changed, l.Changed) {
		t.Error("lists of one size differ between two calls")
	}
}

func TestFormats(t *testing.T) {
	list := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"),
		netip.MustParsePrefix("198.51.100.7/32"),
	}
	change := Change{Remove: list[:1], Add: list[1:]}
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"network file": {networkFile(list), "192.0.2.0/24\n198.51.100.7/32\n"},
		"nft change":   {nftChange(change, false), "delete element inet bench allow { 192.0.2.0/24 }\nadd element inet bench allow { 198.51.100.7/32 }\n"},
		"nft replace":  {nftChange(Change{Add: list}, true), "flush set inet bench allow\nadd element inet bench allow { 192.0.2.0/24, 198.51.100.7/32 }\n"},
		"ipset":        {ipsetScript(IPv6, list[:1]), "create allow hash:net family inet6 hashsize 64 maxelem 2\nadd allow 192.0.2.0/24\n"},
		"ipset change": {ipsetChange(change), "del allow 192.0.2.0/24\nadd allow 198.51.100.7/32\n"},
		"ipset swap":   {ipsetReplace(IPv4, list[:1]), "create next hash:net family inet hashsize 64 maxelem 2\nadd next 192.0.2.0/24\nswap next allow\ndestroy next\n"},
	} {
		if string(c.got) != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, c.got, c.want)
		}
	}
}
