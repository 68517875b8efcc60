package exposure

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func classesOf(list []Class) (out []string) {
	for _, c := range list {
		words := make([]string, 0, 4)
		for _, r := range c.Addresses.List() {
			words = append(words, fmt.Sprintf("%v-%v", r.From.IPv4(), r.To.IPv4()))
		}
		out = append(out, fmt.Sprintf("%d: %s", c.Named, strings.Join(words, " ")))
	}
	return out
}

func TestClasses(t *testing.T) {
	dest := func(s string) Match { return In(Of(FieldDest4), Prefix(netip.MustParsePrefix(s))) }
	b := build()
	raw := b.base(
		FamilyIPv4,
		"raw",
		"PREROUTING",
		Base{Hook: HookPrerouting, Policy: VerdictAccept},
	)
	raw.does(dest("172.18.0.2/32"), drop)
	in := b.base(FamilyIPv4, "filter", "INPUT", Base{Hook: HookInput, Policy: VerdictDrop})
	in.does(dest("198.18.0.1/32"), dport(22, 22), accept)
	in.does(dest("198.18.0.0/24"), dport(80, 90), accept)
	in.does(In(Of(FieldDest4).And(Number(0xffff0000)), One(Number(0xc6130000))), drop)
	b.base(FamilyIPv4, "filter", "FORWARD", Base{Hook: HookForward, Policy: VerdictDrop}).
		does(dest("10.0.0.0/8"), accept)
	b.base(FamilyIPv4, "filter", "OUTPUT", Base{Hook: HookOutput, Policy: VerdictDrop}).
		does(dest("11.0.0.0/8"), accept)
	e := NewEvaluator(b.rs, nil)
	for _, c := range []struct {
		port uint16
		want []string
	}{
		{22, []string{
			"0: 0.0.0.0-9.255.255.255 11.0.0.0-172.18.0.1 172.18.0.3-198.18.0.0 198.18.0.2-198.18.255.255 198.20.0.0-255.255.255.255",
			"8: 10.0.0.0-10.255.255.255", "1: 172.18.0.2-172.18.0.2", "4: 198.18.0.1-198.18.0.1",
			"4: 198.19.0.0-198.19.255.255",
		}},
		{85, []string{
			"0: 0.0.0.0-9.255.255.255 11.0.0.0-172.18.0.1 172.18.0.3-198.17.255.255 198.18.1.0-198.18.255.255 198.20.0.0-255.255.255.255",
			"8: 10.0.0.0-10.255.255.255", "1: 172.18.0.2-172.18.0.2", "4: 198.18.0.0-198.18.0.255",
			"4: 198.19.0.0-198.19.255.255",
		}},
	} {
		got, complete := e.Classes(address.IPv4, firewall.TCP, c.port, c.port)
		if diff := cmp.Diff(c.want, classesOf(got)); diff != "" || !complete {
			t.Errorf("port %d: %v %s", c.port, complete, diff)
		}
	}
	if got, _ := e.Classes(address.IPv6, firewall.TCP, 22, 22); len(got) != 1 {
		t.Error(got)
	}
}

// Elements of a set form one class only if their port and verdict are equal.
func TestClassesOfConcatenations(t *testing.T) {
	at := func(a string) Range { return Prefix(netip.MustParsePrefix(a)) }
	port := func(n uint64) Range { return One(Number(n)) }
	b := build()
	b.base(FamilyIPv4, "filter", "INPUT", Base{Hook: HookInput, Policy: VerdictDrop}).does(Match{
		Key: []Operand{Of(FieldDest4), Of(FieldDport)},
		In: &Set{Width: 2, Keys: []Range{
			at(
				"192.0.2.1/32",
			), port(22), at("192.0.2.2/32"), port(80), at("192.0.2.3/32"), port(22),
		}},
	}, accept)
	got, _ := NewEvaluator(b.rs, nil).Classes(address.IPv4, firewall.TCP, 22, 22)
	want := []string{
		"0: 0.0.0.0-192.0.2.0 192.0.2.2-192.0.2.2 192.0.2.4-255.255.255.255",
		"4: 192.0.2.1-192.0.2.1 192.0.2.3-192.0.2.3",
	}
	if diff := cmp.Diff(want, classesOf(got)); diff != "" {
		t.Error(diff)
	}
}
