package nft

import (
	"context"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func TestFillCountsWhatPacketsHaveLeft(t *testing.T) {
	inNamespace(t)
	b, state := open(t), everything(t)
	rated := state.Rated()
	if len(rated) == 0 {
		t.Fatal("no service of the state has a rate")
	}
	apply(t, b, &state)
	nftProgram(
		t,
		"add element inet portgrave denied-log/ipv4 { 9.9.9.9 timeout 1m, 9.9.9.8 timeout 1m }\n"+
			"add element inet portgrave "+rateSet(rated[0], address.IPv6)+" { 2a00:9:: timeout 1m }\n",
		"-f",
		"-",
	)
	fills, err := b.Fill(context.Background(), rated)
	if err != nil {
		t.Fatal(err)
	}
	want := map[firewall.TableFill]bool{
		{Family: address.IPv4, Sources: 2, Room: firewall.LogMemorySize}:                     true,
		{Family: address.IPv6, Room: firewall.LogMemorySize}:                                 true,
		{Service: rated[0], Family: address.IPv4, Room: firewall.RateMemorySize}:             true,
		{Service: rated[0], Family: address.IPv6, Sources: 1, Room: firewall.RateMemorySize}: true,
	}
	for _, got := range fills {
		if (got.Service == "" || got.Service == rated[0]) && !want[got] {
			t.Errorf("got %+v", got)
		}
		delete(want, got)
	}
	for missing := range want {
		t.Errorf("missing: %+v", missing)
	}
	if got := (&set{spec: setSpec{Size: 5}}).sources(); got != firewall.SourcesUnknown {
		t.Errorf("a kernel that does not count has %d sources", got)
	}
	if p := planOf(t, b, &state); !p.InSync() {
		t.Errorf("what packets leave is drift: %s", changesText(p))
	}
}
