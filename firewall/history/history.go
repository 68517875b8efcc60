// Package history keeps the applied States of a host: generation by generation, what was applied, when,
// by whom and why. Drift is measured against the newest; rollback and boot go back to one.
//
// A Store is a folder. Each generation is a file of its own, named by its number: one line of JSON
// with a checksum, then the generation as JSON. Files are written whole, synced and renamed into place, so a
// crash leaves the old generations or the old ones and the new one, never a torn file; a damaged
// file is named in the error and does not hide the others.
//
// A generation that waits to be confirmed is confirmed by a file of its own beside it.
//
// The package never touches the kernel's rules, and never changes a generation once it is written.
package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/statefiles"
	"golang.org/x/sys/unix"
)

// Generation is one applied State. Its JSON is the format on disk.
type Generation struct {
	Number  int       `json:"generation"` // from 1, never used twice
	Time    time.Time `json:"time"`
	User    string    `json:"user"`
	From    string    `json:"from"` // the SSH client's address, or ""
	Reason  string    `json:"reason"`
	Backend string    `json:"backend"`
	Origin  string    `json:"origin"`  // where the policy was read from
	Summary string    `json:"summary"` // what it changed, in a line
	// Confirmed: nobody needs to say any more that it works. On disk it is as it was when the generation was applied; Load also
	// looks for a later Confirm.
	Confirmed bool `json:"confirmed"`
	// ConfirmBy is when an unconfirmed generation is taken back; zero in one that never waited.
	ConfirmBy time.Time `json:"confirm_by,omitzero"`
	// BootID is the start of the system in which an unconfirmed one was applied: it does not survive a reboot, whenever that is.
	BootID string `json:"boot_id,omitempty"`
	// TornDown marks the end: the rules were removed, and State is empty.
	TornDown bool `json:"torn_down,omitempty"`
	// State is what the policy compiled to.
	State firewall.State `json:"state"`
	// Leased is what was enforced, if leases opened more than State does; nil otherwise.
	Leased *firewall.State `json:"leased,omitempty"`
}

// InForce is the State that the generation put in the kernel: the policy's with the leases of that moment. A later
// generation that goes back to this one goes back to its policy, State, with the leases of then.
func (g *Generation) InForce() firewall.State {
	if g.Leased != nil {
		return *g.Leased
	}
	return g.State
}

// Overdue reports whether a generation that nobody has confirmed must be taken back: its time is up, or the system was started anew
// since. bootID is that of now; "" if it can't be known.
func (g *Generation) Overdue(now time.Time, bootID string) bool {
	return !g.Confirmed && (!now.Before(g.ConfirmBy) || g.BootID != "" && bootID != "" && g.BootID != bootID)
}

// Keep is how many generations are kept.
const Keep = 50

// ErrNone: no generation is in force: none was ever applied, or the last one was torn down.
var ErrNone = errors.New("nothing has been applied yet")

// Store is the history of a host in a folder. Reading needs no lock: files appear whole. Append and
// Clear are for the holder of Lock.
type Store struct {
	dir   string
	files statefiles.Folder
}

// Open opens a folder, and makes it if it is missing. It fails if the folder can't be written: better now than
// after the kernel has been changed.
func Open(dir string) (*Store, error) {
	s := View(dir)
	path := filepath.Join(dir, generations)
	if err := statefiles.MakeAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("the state directory can't be made: %w (set PORTGRAVE_STATE_DIR, or run as root)", err)
	}
	for _, d := range []string{dir, path} { // the lock stands in the one, the generations in the other
		if err := unix.Access(d, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
			return nil, fmt.Errorf("the state directory %s can't be written: %w (set PORTGRAVE_STATE_DIR, or run as root)", d, err)
		}
	}
	return s, nil
}

// View opens a folder for reading only; it need not exist.
func View(dir string) *Store {
	return &Store{dir: dir, files: statefiles.At(filepath.Join(dir, generations))}
}

const (
	generations = "generations"
	suffix      = ".generation"
)

// fileName has six digits so that names sort like numbers; a seventh does no harm.
func fileName(n int) string { return fmt.Sprintf("%06d%s", n, suffix) }

func (s *Store) path(n int) string { return filepath.Join(s.dir, generations, fileName(n)) }

// numbers lists the generations on disk, ascending, readable or not, and joins errors that name what
// in the folder is none. Leftovers of a crash begin with a dot and are passed over.
func (s *Store) numbers() (numbers []int, foreign, err error) {
	entries, err := s.files.List()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the history: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if strings.HasSuffix(e.Name(), confirmedSuffix) {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSuffix(e.Name(), suffix))
		if err != nil || n < 1 || fileName(n) != e.Name() || !e.Type().IsRegular() {
			foreign = errors.Join(foreign, fmt.Errorf("%s is no generation: move it away", filepath.Join(s.dir, generations, e.Name())))
			continue
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers, foreign, nil
}

// Load reads one generation. A missing one is fs.ErrNotExist; a damaged one an error that names the file.
func (s *Store) Load(n int) (*Generation, error) {
	path := s.path(n)
	content, err := s.files.Read(fileName(n))
	if err != nil {
		return nil, fmt.Errorf("generation %d: %w", n, err)
	}
	body, whole := statefiles.Unseal(content)
	if !whole {
		return nil, fmt.Errorf("generation %d: %s is damaged (its checksum is wrong): move it away", n, path)
	}
	var g Generation
	if err := json.Unmarshal(body, &g); err != nil {
		return nil, fmt.Errorf("generation %d: %s: %w", n, path, err)
	}
	if g.Number != n {
		return nil, fmt.Errorf("generation %d: %s holds generation %d, so it was copied or renamed: move it away", n, path, g.Number)
	}
	if !g.Confirmed {
		// One that can't be read counts as none: taking back what works is the smaller harm.
		_, err := s.files.Read(confirmedName(n))
		g.Confirmed = err == nil
	}
	return &g, nil
}

// Last is the generation in force, or ErrNone. If its file is damaged the error names it; older ones are still there for Load.
func (s *Store) Last() (*Generation, error) {
	numbers, _, err := s.numbers()
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, ErrNone
	}
	g, err := s.Load(numbers[len(numbers)-1])
	if err != nil {
		return nil, err
	}
	if g.TornDown {
		return nil, ErrNone
	}
	return g, nil
}

// Newest is the number of the newest generation, 0 if there is none: a cheap way to see that there is nothing new.
func (s *Store) Newest() (int, error) {
	numbers, _, err := s.numbers()
	if err != nil || len(numbers) == 0 {
		return 0, err
	}
	return numbers[len(numbers)-1], nil
}

// List reads every generation, the oldest first, and joins the errors of those that can't be read.
func (s *Store) List() ([]Generation, error) {
	numbers, foreign, err := s.numbers()
	if err != nil {
		return nil, err
	}
	errs := []error{foreign}
	var out []Generation
	for _, n := range numbers {
		g, err := s.Load(n)
		switch {
		case errors.Is(err, fs.ErrNotExist): // thrown out by an Append meanwhile
		case err != nil:
			errs = append(errs, err)
		default:
			out = append(out, *g)
		}
	}
	return out, errors.Join(errs...)
}

// Append writes a generation under the next number and returns it. After an error no generation is recorded,
// unless the error says that only its survival is uncertain. Hold the Lock.
func (s *Store) Append(g Generation) (Generation, error) {
	numbers, _, err := s.numbers()
	if err != nil {
		return g, err
	}
	g.Number = 1
	if len(numbers) > 0 {
		g.Number = numbers[len(numbers)-1] + 1
	}
	body, err := json.Marshal(g)
	if err != nil {
		return g, fmt.Errorf("generation %d could not be encoded: %w", g.Number, err)
	}
	if err := s.files.Write(fileName(g.Number), statefiles.Seal(body)); err != nil {
		return g, fmt.Errorf("generation %d could not be recorded: %w", g.Number, err)
	}
	if err := s.files.Sync(); err != nil {
		return g, fmt.Errorf("generation %d is recorded but may not survive a power cut: %w", g.Number, err)
	}
	for _, old := range numbers[:max(0, len(numbers)+1-Keep)] {
		// One too many is no harm; the next Append tries again.
		_ = s.files.Remove(fileName(old))
		_ = s.files.Remove(confirmedName(old))
	}
	return g, nil
}

// Clear records that the rules were removed: Last is ErrNone from then on, and numbers go on rising.
func (s *Store) Clear(g Generation) (Generation, error) {
	g.TornDown, g.State, g.Leased = true, firewall.State{}, nil
	return s.Append(g)
}
