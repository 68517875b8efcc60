package exposure

import (
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
)

// Rules of ARP that may drop leave IPv4 undecided, and nothing else.
func TestARPRules(t *testing.T) {
	input := Base{Hook: HookInput, Policy: VerdictAccept}
	drops := Base{Hook: HookInput, Policy: VerdictDrop}
	for name, c := range map[string]struct {
		rules     func(b builder)
		undecided bool
	}{
		"policy drop":       {func(b builder) { b.base(FamilyARP, "n", "i", drops) }, true},
		"a rule that drops": {func(b builder) { b.base(FamilyARP, "n", "i", input).does(drop) }, true},
		"in a chain of its own": {func(b builder) {
			in := b.base(FamilyARP, "n", "i", input)
			in.does(jump("own"))
			in.user("own").does(drop)
		}, true},
		"accept alone": {func(b builder) {
			b.base(FamilyARP, "n", "i", input).does(NoEffect{Text: "counter"}, accept)
		}, false},
		"asleep": {func(b builder) { b.base(FamilyARP, "n", "i", drops).Table.Dormant = true }, false},
	} {
		for _, host := range []*Host{nil, smallHost(true)} {
			b := build()
			c.rules(b)
			for _, six := range []bool{false, true} {
				q := tcp80
				if six {
					q = Question{
						Family:    address.IPv6,
						Protocol:  q.Protocol,
						Port:      80,
						Interface: "eth0",
					}
				}
				a, err := Evaluate(b.rs, host, q)
				if err != nil {
					t.Fatal(err)
				}
				certain, possible := a.Through()
				if six && host != nil {
					continue // it has no address of IPv6
				}
				if undecided := certain.Empty() && !possible.Empty(); undecided != (c.undecided && !six) {
					t.Errorf("%s, IPv6 %v, host %v: certain %v", name, six, host != nil, certain)
				}
			}
		}
	}
}
