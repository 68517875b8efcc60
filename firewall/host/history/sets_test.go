package history

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
	"github.com/portgrave/portgrave/firewall/host/statefiles/faulty"
)

// many is n addresses of both families, two apart.
func many(n int) address.Set {
	var b address.Builder
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 15), byte(i >> 7), byte(i << 1)})
		if i%4 == 0 {
			a = netip.AddrFrom16([16]byte{0x20, 1, 13: byte(i >> 15), byte(i >> 7), byte(i << 1)})
		}
		_ = b.Add(netip.PrefixFrom(a, a.BitLen()))
	}
	return b.Set()
}

// letting is a generation whose only service lets a set in.
func letting(reason string, sources address.Set) Generation {
	g := generation(reason)
	g.State.Services[0].Sources = sources
	return g
}

// add appends a generation that builds on the one before.
func add(t *testing.T, s *Store, g Generation) Generation {
	t.Helper()
	g, err := s.Append(g)
	if err != nil {
		t.Fatal(err)
	}
	s.Remember(&g)
	return g
}

// holds fails unless a generation, read anew, lets exactly a set in.
func holds(t *testing.T, s *Store, n int, sources address.Set) *Generation {
	t.Helper()
	g, err := View(s.dir).Load(n)
	if err != nil || !g.State.Services[0].Sources.Equal(sources) {
		t.Fatalf("generation %d does not hold what was recorded: %v", n, err)
	}
	return g
}

func bases(t *testing.T, s *Store) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, sets, "*"+setSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestRecordsGrowWithTheChange checks that a generation takes as much room as what it changes, and
// that all of them can be read as long as they are kept.
func TestRecordsGrowWithTheChange(t *testing.T) {
	s, random := open(t), rand.New(rand.NewPCG(1, 2))
	now := many(50_000)
	all := map[int]address.Set{}
	for i := range Keep + 20 {
		g := add(t, s, letting("x", now))
		if all[g.Number] = now; i > 0 {
			if n := size(t, s.path(g.Number)); n > int64(2000+40*i) {
				t.Fatalf("generation %d has %d bytes", g.Number, n)
			}
		}
		for range 2 { // one address comes, one goes, some for the second time
			x := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.Uint32())}), 32)
			set := address.Must(x.String())
			if now.Contains(x.Addr()) {
				now = now.Minus(set)
			} else {
				now = now.Union(set)
			}
		}
	}
	for n := range all {
		if n > 20 {
			holds(t, s, n, all[n])
		} else if _, err := s.Load(n); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("generation %d: %v", n, err)
		}
	}
	if found := bases(t, s); len(found) != 1 {
		t.Errorf("%d bases", len(found))
	}
}

// TestLargeChangesGetABase checks that changes don't pile up, and that bases go with the last
// generation that needs them.
func TestLargeChangesGetABase(t *testing.T) {
	s, now := open(t), many(50_000)
	add(t, s, letting("x", now))
	for i := range 10 {
		gone := address.Must("10." + string(rune('0'+i/2)) + ".0.0/17")
		now = now.Minus(gone).Union(many(50_000 + 2000*i))
		g := add(t, s, letting("x", now))
		holds(t, s, g.Number, now)
		if n := size(t, s.path(g.Number)); n > int64(now.BinarySize()/maxChanged+2000) {
			t.Errorf("generation %d has %d bytes", g.Number, n)
		}
	}
	if found := bases(t, s); len(found) < 2 || len(found) > 6 {
		t.Errorf("%d bases", len(found))
	}
	for range Keep {
		add(t, s, generation("small"))
	}
	if found := bases(t, s); len(found) != 0 {
		t.Errorf("bases of forgotten generations: %v", found)
	}
}

// TestStoredOnce checks that services, and what leases make of them, share a set on disk and in
// memory.
func TestStoredOnce(t *testing.T) {
	s, g := open(t), letting("x", many(20_000))
	other := g.State.Services[0]
	other.Name = "other"
	other.Ports = []firewall.PortRange{{Protocol: firewall.UDP, First: 1, Last: 1}}
	g.State.Services = append(g.State.Services, other)
	leased := g.State
	g.Leased = &leased
	g = add(t, s, g)
	read := holds(t, s, g.Number, other.Sources)
	id := read.State.Services[0].Sources.Identity()
	for _, state := range []firewall.State{read.State, *read.Leased} {
		for _, svc := range state.Services {
			if svc.Sources.Identity() != id {
				t.Errorf("%s has a copy of its own", svc.Name)
			}
		}
	}
	if n := size(t, s.path(g.Number)); n > 4000 {
		t.Errorf("it has %d bytes", n)
	}
}

// TestDamagedBases checks that a base that was changed or lost makes its generations damaged, and
// that the next one does not build on it.
func TestDamagedBases(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"changed": func(path string) error { return os.WriteFile(path, make([]byte, 100), 0o600) },
		"one bit": func(path string) error {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content[len(content)/2] ^= 1
			return os.WriteFile(path, content, 0o600)
		},
		"lost": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			s, now := open(t), many(20_000)
			first := add(t, s, letting("x", now))
			if _, same := s.Unchanged(&first); !same {
				t.Error("changed, right after it was written")
			}
			base := bases(t, s)[0]
			if err := damage(base); err != nil {
				t.Fatal(err)
			}
			if all, err := s.List(); len(all) != 0 || !errors.Is(err, ErrDamaged) {
				t.Errorf("%d generations, %v", len(all), err)
			}
			_, err := View(s.dir).Load(first.Number)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), filepath.Base(base)) {
				t.Errorf("%v", err)
			}
			if _, same := s.Unchanged(&first); same {
				t.Error("unchanged, though its base was")
			}
			if _, same := s.Enforces(first.State, nil); same {
				t.Error("it enforces what can't be read")
			}
			if all := err.Error(); strings.Contains(all, "move it away") ||
				!strings.Contains(all, "which 1 generation needs") {
				t.Errorf("%v", err)
			}
			// The same content again mends the file, and with it the first generation.
			second, err := View(s.dir).Append(first)
			if err != nil {
				t.Fatal(err)
			}
			holds(t, s, second.Number, first.State.Services[0].Sources)
			holds(t, s, first.Number, first.State.Services[0].Sources)
		})
	}
}

// TestDamagedBasesAreWrittenAnew checks that who has one generation in memory can mend all that
// have its base: by itself, and with the next Append. What was removed comes and goes meanwhile.
func TestDamagedBasesAreWrittenAnew(t *testing.T) {
	for name, mend := range map[string]func(s *Store, last *Generation) error{
		"mend": func(s *Store, last *Generation) error {
			_, err := s.Mend(last)
			if err == nil && !s.Intact(last) {
				return errors.New("not intact, though it was mended")
			}
			return err
		},
		"append": func(s *Store, last *Generation) error { _, err := s.Append(letting("z", many(5))); return err },
	} {
		t.Run(name, func(t *testing.T) {
			s, all := open(t), many(20_000)
			some, more := address.Must("10.0.0.2/32"), address.Must("192.0.2.0/24")
			contents := []address.Set{
				all,
				all.Minus(some),
				all,
				all.Minus(some).Union(more),
				all.Union(more),
			}
			var last Generation
			for _, content := range contents {
				last = add(t, s, letting("x", content))
			}
			path := bases(t, s)
			if len(path) != 1 {
				t.Fatalf("%d bases", len(path))
			}
			if err := os.WriteFile(path[0], make([]byte, 100), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := View(s.dir).List(); !strings.Contains(
				err.Error(),
				"which 5 generations need",
			) {
				t.Errorf("%v", err)
			}
			if err := mend(s, &last); err != nil {
				t.Fatal(err)
			}
			for i, content := range contents {
				holds(t, s, i+1, content)
			}
		})
	}
}

// TestFaultsOfSets checks that no generation is recorded whose base is not on disk.
func TestFaultsOfSets(t *testing.T) {
	for _, operation := range []string{"make", "write", "rename", "sync"} {
		t.Run(operation, func(t *testing.T) {
			s := open(t)
			small := add(t, s, generation("small"))
			good := s.sets
			s.sets = faulty.Folder{Folder: good, Operation: operation}
			if _, err := s.Append(letting("x", many(20_000))); !errors.Is(err, faulty.Err) {
				t.Errorf("%v", err)
			}
			if last, err := s.Last(); err != nil || last.Number != small.Number {
				t.Errorf("last: %v", err)
			}
			s.sets = good
			g := add(t, s, letting("x", many(20_000)))
			holds(t, s, g.Number, many(20_000))
		})
	}
}

// TestEnforcesStored checks the comparison with a generation whose sets stand elsewhere, whole or
// with changes.
func TestEnforcesStored(t *testing.T) {
	s, now := open(t), many(20_000)
	for _, more := range []string{"192.0.2.1/32", "192.0.2.2/32"} {
		g := add(t, s, letting("x", now))
		if r, same := View(s.dir).Enforces(g.State, nil); !same || r.Number != g.Number {
			t.Errorf("generation %d does not enforce what it does", g.Number)
		}
		if _, same := View(s.dir).Enforces(g.State, &g.State); same {
			t.Errorf("generation %d enforces leases", g.Number)
		}
		now = now.Union(address.Must(more))
		if _, same := View(s.dir).Enforces(letting("y", now).State, nil); same {
			t.Errorf("generation %d enforces one more", g.Number)
		}
	}
	// Who has asked that and then records the difference has no need of a base.
	asked := View(s.dir)
	if _, same := asked.Enforces(letting("z", now).State, nil); same {
		t.Error("it enforces one more")
	}
	if _, err := asked.Append(letting("z", now)); err != nil || len(bases(t, s)) != 1 {
		t.Errorf("%v, %d bases", err, len(bases(t, s)))
	}
}

// TestOldGenerationsStayReadable checks a generation that has its large sets inside, and what
// builds on it.
func TestOldGenerationsStayReadable(t *testing.T) {
	s, now := open(t), many(20_000)
	g := letting("old", now)
	g.Number, g.Services = 1, len(g.State.Services)
	content, err := statefiles.Seal(encode(g))
	if err == nil {
		err = s.files.Write(s.fileName(1), content)
	}
	if err != nil {
		t.Fatal(err)
	}
	last, err := s.Last()
	if err != nil || !last.State.Equal(g.State) {
		t.Fatalf("%v", err)
	}
	if _, same := s.Enforces(g.State, nil); !same {
		t.Error("it does not enforce what it does")
	}
	s.Remember(last)
	now = now.Union(address.Must("192.0.2.1/32"))
	holds(t, s, add(t, s, letting("new", now)).Number, now)
	holds(t, s, 1, g.State.Services[0].Sources)
}

// TestWithAnEqualState checks that a generation takes over the sets of an equal State, and that
// what follows still builds on the same base.
func TestWithAnEqualState(t *testing.T) {
	s := open(t)
	g := letting("x", many(20_000))
	leased := g.State
	g.Leased = &leased
	g = add(t, s, g)
	copied := letting("y", many(20_000)).State
	now := g.With(copied)
	id := copied.Services[0].Sources.Identity()
	if now.State.Services[0].Sources.Identity() != id ||
		now.Leased.Services[0].Sources.Identity() != id ||
		g.Leased.Services[0].Sources.Identity() == id {
		t.Error("a set was not taken over, or in the generation before, too")
	}
	if _, known := now.large[id]; !known || len(now.large) != 1 {
		t.Errorf("%d large sets", len(now.large))
	}
	s.Remember(now)
	more := copied.Services[0].Sources.Union(address.Must("192.0.2.1/32"))
	holds(t, s, add(t, s, letting("z", more)).Number, more)
	if found := bases(t, s); len(found) != 1 {
		t.Errorf("%d bases", len(found))
	}
}
