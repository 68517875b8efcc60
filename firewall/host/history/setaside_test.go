package history

import (
	"maps"
	"net/netip"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/statefiles/faulty"
)

// TestGoingBack checks what is set aside: what lists hold now as far as that is known, but for what
// the generation that is gone back to was made of.
func TestGoingBack(t *testing.T) {
	type lists = map[string]string
	for name, tt := range map[string]struct {
		from, to  Record
		now, want lists
	}{
		"unknown":           {Record{}, Record{}, nil, nil},
		"the same":          {Record{Lists: lists{"l": "1"}}, Record{Lists: lists{"l": "1"}}, nil, nil},
		"one changed":       {Record{Lists: lists{"l": "2", "m": "1"}}, Record{Lists: lists{"l": "1", "m": "1"}}, nil, lists{"l": "2"}},
		"edited meanwhile":  {Record{Lists: lists{"l": "2"}}, Record{Lists: lists{"l": "1"}}, lists{"l": "3"}, lists{"l": "3"}},
		"edited, and back":  {Record{Lists: lists{"l": "2"}}, Record{Lists: lists{"l": "1"}}, lists{"l": "1"}, nil},
		"back again":        {Record{Lists: lists{"l": "1"}, SetAside: lists{"l": "2"}}, Record{Lists: lists{"l": "2"}}, nil, nil},
		"further back":      {Record{Lists: lists{"l": "1"}, SetAside: lists{"l": "2"}}, Record{Lists: lists{"l": "0"}}, nil, lists{"l": "2"}},
		"of an old version": {Record{}, Record{}, lists{"l": "2"}, lists{"l": "2"}},
	} {
		if got := GoingBack(tt.from, tt.to, tt.now); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestSetAside checks that what is set aside can be released list by list, also where the end of a
// trial was recorded on a full disk, and that a new generation does not inherit it.
func TestSetAside(t *testing.T) {
	type lists = map[string]string
	s := open(t)
	expect := func(n int, want lists) {
		t.Helper()
		if r, err := s.HeadOf(n); err != nil || !maps.Equal(r.SetAside, want) {
			t.Errorf("generation %d has set aside %v, %v; want %v", n, r.SetAside, err, want)
		}
	}
	first := generation("first")
	first.Lists, first.SetAside = lists{"l": "1", "m": "1"}, lists{"l": "2", "m": "2"}
	add(t, s, first)
	expect(1, lists{"l": "2", "m": "2"})
	if err := s.SetAside(1, lists{"m": "2"}); err != nil {
		t.Fatal(err)
	}
	expect(1, lists{"m": "2"})
	trial := generation("trial")
	trial.Lists, trial.Confirmed = lists{"l": "3", "m": "1"}, false
	add(t, s, trial)
	good := s.files.Folder
	s.files.Folder = faulty.Folder{Folder: good, Operation: "write"}
	if err := s.WithdrawTrial(2); err != nil {
		t.Fatal(err)
	}
	expect(1, lists{"l": "3"})
	s.files.Folder = good
	if err := s.SetAside(1, nil); err != nil {
		t.Fatal(err)
	}
	expect(1, nil)
	if g := add(t, s, generation("next")); g.Number != 3 {
		t.Errorf("number %d was used twice", g.Number)
	}
	expect(3, nil)
	if _, err := s.List(); err != nil {
		t.Error(err)
	}
	if left := s.withdrawn(); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestKeepAside checks that a service keeps its sources as long as one of its lists is set aside,
// and that others are followed.
func TestKeepAside(t *testing.T) {
	type lists = map[string]string
	svc := func(name, sources string) firewall.Service {
		set, err := address.New(netip.MustParsePrefix(sources))
		if err != nil {
			t.Fatal(err)
		}
		return firewall.Service{Name: name, Sources: set}
	}
	g := &Generation{Record: Record{Lists: lists{"l": "1", "m": "1"}, SetAside: lists{"l": "2"}}}
	g.State.Services = []firewall.Service{svc("a", "10.0.0.0/8"), svc("b", "10.0.0.0/8")}
	now := firewall.State{Services: []firewall.Service{
		svc("a", "11.0.0.0/8"), svc("b", "11.0.0.0/8"), svc("new", "11.0.0.0/8")}}
	read := lists{"l": "2", "m": "3"}
	got, of := g.KeepAside(now, read, map[string][]string{
		"a": {"m", "l"}, "b": {"m"}, "new": {"l"}})
	want := firewall.State{Services: []firewall.Service{
		svc("a", "10.0.0.0/8"), svc("b", "11.0.0.0/8"), svc("new", "11.0.0.0/8")}}
	if !got.Equal(want) || !maps.Equal(of, lists{"l": "1", "m": "3"}) {
		t.Errorf("%v, %v", got, of)
	}
	if !now.Services[0].Equal(svc("a", "11.0.0.0/8")) || read["l"] != "2" {
		t.Errorf("the argument was changed: %v, %v", now, read)
	}
}
