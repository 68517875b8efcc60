package exposure

import (
	"fmt"
	"net/netip"
	"testing"
)

// Sources without credits stay in the answer when their flow is merged with others.
func TestSourcesWithoutCreditsStay(t *testing.T) {
	b := build()
	c := b.base(
		FamilyNetdev,
		"n",
		"ing",
		Base{Hook: HookIngress, Policy: VerdictAccept, Devices: []string{"eth9"}},
	)
	c.does(from("203.0.113.0/24"), drop)
	for i := uint64(1); i <= maxSeparateFlows+2; i++ {
		c.does(from(fmt.Sprintf("10.%d.0.0/16", i)), markSet(i))
	}
	q := tcp80
	q.Interface = ""
	a, err := Evaluate(b.rs, nil, q)
	if err != nil {
		t.Fatal(err)
	}
	certain, possible := a.Through()
	banned := Address(netip.MustParseAddr("203.0.113.5"))
	if !possible.Contains(banned) || certain.Contains(banned) {
		t.Errorf("a source that one device refuses: certain %v, possible %v, want false, true",
			certain.Contains(banned), possible.Contains(banned))
	}
	var named Ranges
	for _, p := range a.Pieces {
		named = named.Union(p.Sources)
	}
	if left := q.Universe().Minus(named); !left.Empty() {
		t.Errorf("%v are in no piece", a.Prefixes(left).Strings())
	}
}
