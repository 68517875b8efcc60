package firewall

import (
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

func TestInsideHasWhatThePolicyNamesAndTheWellKnown(t *testing.T) {
	s := State{Direct: []string{"lxcbr0", "pods1"}}
	inside := s.Inside()
	for name, want := range map[string]bool{
		"docker0":  true,
		"br-1a2b":  false,
		"br-ex":    false,
		"vethab12": true,
		"pods1":    true,
		"lxcbr0":   true,
		"eth0":     false,
		"br0":      false,
		"wg0":      false,
	} {
		got := slices.ContainsFunc(inside, func(p string) bool { return MatchInterface(p, name) })
		if got != want {
			t.Errorf("%s is inside: %v, want %v", name, got, want)
		}
	}
	if _, err := canonicalInterfaces(containerInterfaces); err != nil {
		t.Error(err)
	}
}

func TestRatePrefixLength(t *testing.T) {
	plain := Rate{Count: 1, Per: time.Second, Burst: 1}
	if got := plain.PrefixLength(address.IPv6); got != 64 {
		t.Errorf("a source of IPv6 is a /%d, want /64", got)
	}
	if got := plain.PrefixLength(address.IPv4); got != 32 {
		t.Errorf("a source of IPv4 is a /%d", got)
	}
	sixtyFour := plain
	sixtyFour.IPv6Prefix = 64
	with := func(r Rate) State {
		c, err := State{Unlisted: UnlistedIgnore, Refuse: RefuseDrop, Established: EstablishedCut,
			Services: []Service{
				{Name: "a", Log: LogNone, Rate: &r, Ports: []PortRange{{TCP, 1, 1}}},
			}}.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if !with(plain).Equal(with(sixtyFour)) {
		t.Error("64 written out differs from the default")
	}
	narrow := plain
	narrow.IPv6Prefix = 128
	if with(plain).Equal(with(narrow)) {
		t.Error("/128 and /64 are the same")
	}
}
