package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func generation(reason string) Generation {
	return Generation{
		Record: Record{
			Time:      time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC),
			User:      "root",
			Reason:    reason,
			Backend:   "nftables",
			Confirmed: true,
		},
		State: firewall.State{
			Unlisted:    firewall.UnlistedIgnore,
			Refuse:      firewall.RefuseDrop,
			Established: firewall.EstablishedCut,
			Services: []firewall.Service{
				{
					Name:    "a",
					Ports:   []firewall.PortRange{{Protocol: firewall.TCP, First: 1, Last: 2}},
					Sources: address.Must("10.0.0.0/8", "::/0"),
					Log:     firewall.LogDenied,
				},
			},
		},
	}
}

func TestAppendAndRead(t *testing.T) {
	s := open(t)
	if _, err := s.Last(); !errors.Is(err, ErrNone) {
		t.Fatalf("an empty history: %v", err)
	}
	for i := 1; i <= Keep+5; i++ {
		g, err := s.Append(generation("r"))
		if err != nil || g.Number != i {
			t.Fatalf("append %d: %d, %v", i, g.Number, err)
		}
	}
	last, err := s.Last()
	if err != nil || last.Number != Keep+5 || !last.State.Equal(generation("").State) {
		t.Errorf("last: %+v, %v", last, err)
	}
	all, err := s.List()
	if err != nil || len(all) != Keep || all[0].Number != 6 {
		t.Errorf("%d kept, %v", len(all), err)
	}
}

func TestClearEndsAndNumbersGoOn(t *testing.T) {
	s := open(t)
	if _, err := s.Append(generation("one")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Clear(generation("gone")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Last(); !errors.Is(err, ErrNone) {
		t.Errorf("after teardown: %v", err)
	}
	if g, err := s.Append(generation("again")); err != nil || g.Number != 3 {
		t.Errorf("number %d, %v", g.Number, err)
	}
}

func TestDamageIsNamedAndHidesNothing(t *testing.T) {
	s := open(t)
	for range 3 {
		if _, err := s.Append(generation("x")); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(s.path(3))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty":  nil,
		"cut":    content[:len(content)/2],
		"bit":    append([]byte{content[0] ^ 1}, content[1:]...),
		"binary": {0, 1, 2},
	} {
		if err := os.WriteFile(s.path(3), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Last(); err == nil || !strings.Contains(err.Error(), s.path(3)) {
			t.Errorf("%s: %v", name, err)
		}
		if g, err := s.Load(2); err != nil || g.Number != 2 {
			t.Errorf("%s: the older one: %v", name, err)
		}
		if all, err := s.List(); len(all) != 2 || err == nil {
			t.Errorf("%s: list has %d, %v", name, len(all), err)
		}
	}
	if g, err := s.Append(generation("next")); err != nil || g.Number != 4 {
		t.Errorf("after damage: %d, %v", g.Number, err)
	}
}

func TestLockKeepsOthersOut(t *testing.T) {
	s := open(t)
	unlock, err := s.Lock(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(context.Background(), 60*time.Millisecond); err == nil ||
		!strings.Contains(err.Error(), "holds") {
		t.Errorf("the second lock: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Lock(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	unlock()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			unlock, err := s.Lock(context.Background(), time.Minute)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			if _, err := s.Append(generation("many")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if all, err := s.List(); err != nil || len(all) != 8 {
		t.Errorf("%d generations, %v", len(all), err)
	}
}

func TestUnwritableFolderIsToldBeforehand(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file + "/state"); err == nil ||
		!strings.Contains(err.Error(), "PORTGRAVE_STATE_DIR") {
		t.Errorf("got %v", err)
	}
}

// Waits says what Load would, without reading the generation.
func TestWaits(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	waits := func(n int) bool {
		t.Helper()
		w, err := s.Waits(n)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for range 2 {
		if _, err := s.Append(Generation{}); err != nil {
			t.Fatal(err)
		}
	}
	if waits(1) || !waits(2) || waits(3) {
		t.Error("the newest waits, and no other")
	}
	if err := s.Confirm(2, Confirmation{}); err != nil || waits(2) {
		t.Errorf("a confirmed one waits: %v", err)
	}
}

// large is a folder whose files look as long as those with millions of sources.
type large struct{ statefiles.Folder }

func (large) Size(string) (int64, error) { return keepBytes / 8, nil }

// TestLargeGenerationsMakeRoom: what is kept does not fill the disk, and is enough to go back.
func TestLargeGenerationsMakeRoom(t *testing.T) {
	s := open(t)
	s.files.Folder = large{s.files.Folder}
	for range 20 {
		if _, err := s.Append(generation("r")); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := s.List(); err != nil || len(all) != 8 || all[0].Number != 13 {
		t.Errorf("%d kept, %v", len(all), err)
	}
}

// The head of the newest file is what Last says of it, and needs but the beginning.
func TestHead(t *testing.T) {
	s := open(t)
	if _, err := s.Head(); !errors.Is(err, ErrNone) {
		t.Errorf("nothing applied: %v", err)
	}
	g := generation("one")
	g.Confirmed = false
	g, err := s.Append(g)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := s.Head(); err != nil || !reflect.DeepEqual(r, g.Record) {
		t.Errorf("got %+v, %v, want %+v", r, err, g.Record)
	}
	if err := s.Confirm(g.Number, Confirmation{}); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Head(); err != nil || !r.Confirmed {
		t.Errorf("confirmed: %+v, %v", r, err)
	}
	content, err := os.ReadFile(s.path(g.Number))
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(content) {
		if err := os.WriteFile(s.path(g.Number), content[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := s.Head()
		if whole := bytes.Count(content[:n], []byte("\n")) >= 2; whole &&
			(err != nil || r.Number != g.Number) ||
			!whole && !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut after %d bytes of %d: %+v, %v", n, len(content), r, err)
		}
	}
	if err := os.WriteFile(
		s.path(g.Number), bytes.Repeat([]byte("x"), 2*longestHead), 0o600,
	); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Head(); !errors.Is(err, ErrDamaged) {
		t.Errorf("a line without end: %v", err)
	}
	if _, err := s.Clear(generation("end")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Head(); !errors.Is(err, ErrNone) {
		t.Errorf("torn down: %v", err)
	}
}

// Whether a generation enforces something is the same question to its file as to what Last makes of
// it, and damage is never a yes.
func TestEnforces(t *testing.T) {
	s, g := open(t), generation("one")
	other, leased := generation("").State, generation("").State
	other.Services = []firewall.Service{other.Services[0]}
	other.Services[0].Sources = address.Must("10.0.0.0/8", "::/1")
	leased.Services = []firewall.Service{leased.Services[0]}
	leased.Services[0].Sources = address.Must("10.0.0.0/8", "192.0.2.0/24", "::/0")
	ask := func(what string, state firewall.State, leased *firewall.State, want bool) Record {
		t.Helper()
		r, same := s.Enforces(state, leased)
		if same != want {
			t.Errorf("%s: %v, want %v", what, same, want)
		}
		return r
	}
	ask("nothing applied", g.State, nil, false)
	g.Confirmed = false
	g, err := s.Append(g)
	if err != nil {
		t.Fatal(err)
	}
	if r := ask("the same", g.State, nil, true); !reflect.DeepEqual(r, g.Record) {
		t.Errorf("got %+v, want %+v", r, g.Record)
	}
	if err := s.Confirm(g.Number, Confirmation{}); err != nil {
		t.Fatal(err)
	}
	if r := ask("confirmed", g.State, nil, true); !r.Confirmed {
		t.Error("a confirmation was overlooked")
	}
	ask("other sources", other, nil, false)
	ask("leases besides", g.State, &leased, false)
	g.Leased = &leased
	if g, err = s.Append(g); err != nil {
		t.Fatal(err)
	}
	ask("with leases", g.State, &leased, true)
	ask("without them", g.State, nil, false)
	ask("other leases", g.State, &other, false)

	content, err := os.ReadFile(s.path(g.Number))
	if err != nil {
		t.Fatal(err)
	}
	for i := range content {
		bad := slices.Clone(content)
		bad[i] ^= 1
		if err := os.WriteFile(s.path(g.Number), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		ask(fmt.Sprintf("byte %d damaged", i), g.State, &leased, false)
	}
	for name, bad := range map[string][]byte{
		"empty":  nil,
		"cut":    content[:len(content)-1],
		"longer": append(slices.Clone(content), 0),
	} {
		if err := os.WriteFile(s.path(g.Number), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		ask(name, g.State, &leased, false)
	}
	if _, err := s.Clear(g); err != nil {
		t.Fatal(err)
	}
	ask("torn down", firewall.State{}, nil, false)
}
