package history

import (
	"maps"
	"testing"

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
