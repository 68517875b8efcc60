package firewall

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

func TestStateInBinaryForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{
			Unlisted:    UnlistedIgnore,
			Refuse:      RefuseDrop,
			Established: EstablishedCut,
			Services:    drawServices(t),
		}
		s, _ = s.Canonical()
		b, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		var back State
		if err := back.UnmarshalBinary(b); err != nil || !back.Equal(s) {
			t.Fatalf("%+v came back as %+v, %v", s, back, err)
		}
		if again, _ := back.MarshalBinary(); string(again) != string(b) {
			t.Fatal("the same State has two forms")
		}
		cut := b[:rapid.IntRange(0, len(b)-1).Draw(t, "cut")]
		if err := new(State).UnmarshalBinary(cut); err == nil {
			t.Fatalf("%d bytes of %d were taken for a State", len(cut), len(b))
		}
	})
}

// TestSharedSourcesStandOnce: however many services share a set, its binary form has it once, and
// they share it again.
func TestSharedSourcesStandOnce(t *testing.T) {
	var list []netip.Prefix
	for i := range 10_000 {
		list = append(
			list,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 25),
		)
	}
	shared, _ := address.New(list...)
	equal, _ := address.New(list...) // but made anew
	services := spreadOut(1000, differ["ports"])
	for i := range services {
		if services[i].Sources = shared; i%2 == 0 {
			services[i].Sources = equal
		}
	}
	b, err := stateOf(services...).MarshalBinary()
	if err != nil || len(b) > 2*shared.BinarySize()+500*len(services) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	var back State
	if err := back.UnmarshalBinary(b); err != nil {
		t.Fatal(err)
	}
	if back.Services[1].Sources.Identity() != back.Services[998].Sources.Identity() {
		t.Error("they do not share it any more")
	}
}

func FuzzState(f *testing.F) {
	b, _ := stateOf(
		Service{
			Name:    "a",
			Ports:   []PortRange{tcp(1, 2)},
			Sources: address.Must("10.0.0.0/8", "2001:db8::/32"),
		},
	).MarshalBinary()
	f.Add(b)
	f.Add([]byte(strings.Repeat("\xff", 20)))
	noProtocol := `{"unlisted":"ignore","refuse":"drop","established":"cut","essentials":[],"services":[{"name":"a","ports":[{"first":1,"last":2}],"log":"none"}]}`
	f.Add(append(append([]byte{byte(len(noProtocol)), 1}, noProtocol...), 1, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s State
		if s.UnmarshalBinary(b) != nil {
			return
		}
		again, err := s.MarshalBinary()
		if err == nil {
			err = new(State).UnmarshalBinary(again)
		}
		if err != nil {
			t.Fatalf("read, and not written or not read again: %v", err)
		}
	})
}
