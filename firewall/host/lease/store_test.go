package lease

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// storeAt is a new store whose clocks stand where now points.
func storeAt(t *testing.T, now *Reading) *Store {
	t.Helper()
	s := At(filepath.Join(t.TempDir(), "state"))
	s.Clock = func() Reading { return *now }
	return s
}

func atNoon() *Reading { return &Reading{Wall: noon, BootID: "boot-1", Uptime: 1000 * time.Hour} }

// pass lets time go by as it does on a clock that nobody sets.
func pass(r *Reading, d time.Duration) { r.Wall, r.Uptime = r.Wall.Add(d), r.Uptime+d }

func add(t *testing.T, s *Store, l Lease) Lease {
	t.Helper()
	l, err := s.Add(l)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// list is the leases of a store in which nothing is damaged.
func list(t *testing.T, s *Store) []Lease {
	t.Helper()
	leases, damaged, err := s.List()
	if err = errors.Join(append(damaged, err)...); err != nil {
		t.Fatal(err)
	}
	return leases
}

func ids(leases []Lease) (out []string) {
	for _, l := range leases {
		out = append(out, l.ID)
	}
	return out
}

func TestStore(t *testing.T) {
	now := atNoon()
	s := storeAt(t, now)
	if got := list(t, s); got != nil {
		t.Errorf("before anything: %v", got)
	}
	if err := s.Remove("bcdfgh"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removing from nothing: %v", err)
	}
	long := leaseOf("203.0.113.7/32", tcp(80, 81), udp(53, 53))
	long.From, long.Unlisted, long.Until = "2001:db8::1", true, noon.Add(5*time.Hour)
	long = add(t, s, long)
	short := add(t, s, leaseOf("198.51.100.0/24", tcp(22, 22)))
	got := list(t, s)
	if diff := cmp.Diff([]Lease{short, long}, got); diff != "" {
		t.Error(diff)
	}
	if long.ID == short.ID || !isID(long.ID) || !isID(short.ID) {
		t.Errorf("IDs %q and %q", long.ID, short.ID)
	}
	for _, id := range []string{"zzzzzz", "../../x", ""} {
		if err := s.Remove(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("removing %q: %v", id, err)
		}
	}
	// One that is over is not listed any more, and its file goes with the next write.
	pass(now, 2*time.Hour)
	if got := ids(list(t, s)); !slices.Equal(got, []string{long.ID}) {
		t.Errorf("after two hours: %v", got)
	}
	add(
		t,
		s,
		leaseOf("198.51.100.0/24", tcp(22, 22)),
	) // over before it was added: gone with the removal below
	if _, err := os.Stat(s.files.PathOf(short.ID)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of one that is over: %v", err)
	}
	if err := s.Remove(long.ID); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(s.files.Path); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestStoreRefusesWhatIsNone(t *testing.T) {
	s := storeAt(t, atNoon())
	if l, err := s.Add(leaseOf("203.0.113.7/32")); err == nil {
		t.Errorf("%+v", l)
	}
	if _, err := os.Stat(s.files.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something was made for it")
	}
}

func TestIDsAreUnique(t *testing.T) {
	s := storeAt(t, atNoon())
	draws := []string{"bcdfgh", "bcdfgh", "bcdfgh", "cdfghj"}
	s.drawID = func() string { id := draws[0]; draws = draws[1:]; return id }
	for _, want := range []string{"bcdfgh", "cdfghj"} {
		if l := add(t, s, leaseOf("203.0.113.7/32", tcp(80, 80))); l.ID != want {
			t.Errorf("%s, want %s", l.ID, want)
		}
	}
	seen := map[string]bool{}
	for range 1000 {
		id := drawID()
		if !isID(id) || seen[id] {
			t.Errorf("drew %q", id)
		}
		seen[id] = true
	}
}

func TestNoMoreThanMax(t *testing.T) {
	s := storeAt(t, atNoon())
	first := add(t, s, leaseOf("203.0.113.7/32", tcp(80, 80)))
	content, err := os.ReadFile(s.files.PathOf(first.ID))
	if err != nil {
		t.Fatal(err)
	}
	id := []byte("bbbbbb")
	for range MaxLeases - 1 { // whether they can be read does not matter: they count
		if err := os.WriteFile(s.files.PathOf(string(id)), content[:40], 0o600); err != nil {
			t.Fatal(err)
		}
		for i := len(id) - 1; ; i-- {
			if n := strings.IndexByte(idLetters, id[i]); n+1 < len(idLetters) {
				id[i] = idLetters[n+1]
				break
			}
			id[i] = idLetters[0]
		}
	}
	if _, err := s.Add(leaseOf("203.0.113.7/32", tcp(80, 80))); err == nil ||
		!strings.Contains(err.Error(), "10000 leases") {
		t.Errorf("one too many: %v", err)
	}
	if err := s.HasRoom(); err == nil || !strings.Contains(err.Error(), "10000 leases") {
		t.Errorf("room for one too many: %v", err)
	}
	if err := s.Remove("bbbbbb"); err != nil {
		t.Fatal(err)
	}
	if err := s.HasRoom(); err != nil {
		t.Error(err)
	}
	add(t, s, leaseOf("203.0.113.7/32", tcp(80, 80)))
}

// TestDamaged: whatever happens to a file, it opens nothing, is named, and hides no other.
func TestDamaged(t *testing.T) {
	now := atNoon()
	s := storeAt(t, now)
	good := add(t, s, leaseOf("203.0.113.7/32", tcp(80, 80)))
	bad := add(t, s, leaseOf("203.0.113.8/32", tcp(80, 80)))
	path := s.files.PathOf(bad.ID)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(content), "\n")
	signed := func(body string) []byte { return statefiles.SealBytes([]byte(body)) }
	change := func(old, new string) []byte {
		changed := strings.Replace(body, old, new, 1)
		if changed == body {
			t.Fatalf("%s is not in %s", old, body)
		}
		return signed(changed)
	}
	for name, tt := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":            {nil, "checksum"},
		"cut short":        {content[:len(content)-9], "checksum"},
		"a bit":            {slices.Concat(content[:90], []byte{content[90] ^ 1}, content[91:]), "checksum"},
		"longer":           {slices.Concat(content, []byte(" ")), "checksum"},
		"huge":             {make([]byte, maxFile+1), "bytes"},
		"another's":        {change(bad.ID, good.ID), "copied or renamed"},
		"no ID":            {change(bad.ID, "x"), "no ID"},
		"no JSON":          {signed("{"), "EOF"},
		"two":              {signed(body + body), "something follows"},
		"a field":          {change(`"ports"`, `"only_at_night":true,"ports"`), "only_at_night"},
		"everywhere":       {change(`["203.0.113.8/32"]`, `[]`), "0 sources"},
		"no CIDR":          {change(`203.0.113.8/32`, `203.0.113.8/33`), "203.0.113.8/33"},
		"mapped":           {change(`203.0.113.8/32`, `::ffff:203.0.113.8/128`), "usable"},
		"not a port":       {change(`"tcp/80"`, ``), "no ports"},
		"port 0":           {change(`"tcp/80"`, `"tcp/0"`), "not a port"},
		"ends at once":     {change(`2026-11-23T14:00:00Z`, `2026-11-23T12:00:00Z`), "ends before"},
		"never opened":     {change(`2026-11-23T12:00:00Z`, `0001-01-01T00:00:00Z`), "not a time"},
		"never ends":       {change(`2026-11-23T14:00:00Z`, `9999-12-31T23:59:59-14:00`), "not a time"},
		"control sequence": {change(`INC-42`, `\u001b[2J`), "control"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, tt.content, 0o600); err != nil {
				t.Fatal(err)
			}
			leases, damaged, err := s.List()
			if err != nil || !slices.Equal(ids(leases), []string{good.ID}) {
				t.Errorf("%v, %v", leases, err)
			}
			if len(damaged) != 1 || !strings.Contains(damaged[0].Error(), path) ||
				!strings.Contains(damaged[0].Error(), tt.want) {
				t.Errorf("%v does not say %s and %q", damaged, path, tt.want)
			}
			add(t, s, leaseOf("203.0.113.9/32", tcp(80, 80))) // goes on working
			if _, err := os.Stat(path); err != nil {
				t.Errorf("the damaged file is gone: %v", err)
			}
			leases, _, _ = s.List()
			for _, l := range leases {
				if l.ID != good.ID {
					_ = s.Remove(l.ID)
				}
			}
		})
	}
	if err := s.Remove(bad.ID); err != nil { // a damaged one can be closed
		t.Error(err)
	}
	for _, name := range []string{"notes.txt", "x.lease", "BCDFGH.lease", "bcdfgh.lease.bak"} {
		if err := os.WriteFile(filepath.Join(s.files.Path, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(s.files.Path, "ffffff.lease"), 0o700), os.Symlink(path, filepath.Join(s.files.Path, "gggggg.lease")),
		os.WriteFile(filepath.Join(s.files.Path, ".hhhhhh.lease123"), content, 0o600)); err != nil {
		t.Fatal(err)
	}
	leases, damaged, err := s.List()
	if err != nil || len(leases) != 1 || len(damaged) != 6 {
		t.Errorf("foreign files: %v, %v, %v", leases, damaged, err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	s := storeAt(t, atNoon())
	l := add(t, s, leaseOf("203.0.113.7/32", tcp(80, 80)))
	for path, want := range map[string]fs.FileMode{
		s.files.Path:         0o700,
		s.files.PathOf(l.ID): 0o600,
	} {
		if i, err := os.Stat(path); err != nil || i.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, i, err)
		}
	}
}

// TestJSON is the contract.
func TestJSON(t *testing.T) {
	l := leaseOf("203.0.113.7/32", tcp(9090, 9090), udp(5000, 5010))
	l.From = "198.51.100.4"
	want := `{"id":"bcdfgh","ports":["tcp/9090","udp/5000-5010"],"sources":["203.0.113.7/32"],"opened":"2026-11-23T12:00:00Z","until":"2026-11-23T14:00:00Z","user":"root","from":"198.51.100.4","reason":"INC-42","unlisted":false}`
	b, err := json.Marshal(l)
	if err != nil || string(b) != want {
		t.Errorf("%s, %v\nwant %s", b, err, want)
	}
	var back Lease
	if err := json.Unmarshal(b, &back); err != nil || !cmp.Equal(l, back) {
		t.Errorf("came back as %+v, %v", back, err)
	}
	before := back
	for _, bad := range []string{
		`{}`, `[]`, `{"ports":["tcp/9090"],"sources":["::/0"],"opened":"x"}`,
	} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil || !cmp.Equal(before, back) {
			t.Errorf("%s: %+v, %v", bad, back, err)
		}
	}
}

// TestLeasesOutliveTheProgram, and a reboot: another Store at the same place has them.
func TestLeasesOutliveTheProgram(t *testing.T) {
	now := atNoon()
	s := storeAt(t, now)
	l := add(t, s, leaseOf("203.0.113.7/32", tcp(80, 80)))
	again := At(filepath.Dir(s.files.Path))
	again.Clock = func() Reading {
		return Reading{Wall: noon.Add(time.Hour), BootID: "boot-2", Uptime: time.Minute}
	}
	if got := list(t, again); !cmp.Equal(got, []Lease{l}) {
		t.Errorf("%+v, want %+v", got, l)
	}
	policy := stateOf(t, firewall.Service{Name: "web", Ports: []firewall.PortRange{tcp(80, 80)}})
	if out := applied(t, policy, noon.Add(time.Hour), list(t, again)...); !out.Services[0].Expiring[0].Until.Equal(
		l.Until,
	) {
		t.Errorf("%v", lines(out))
	}
}
