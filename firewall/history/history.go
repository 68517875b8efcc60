// Package history keeps the applied States of a host: generation by generation, what was applied, when,
// by whom and why. Drift is measured against the newest; rollback and boot go back to one.
//
// A Store is a folder. Each generation is a file of its own, named by its number: one line of JSON
// with a checksum, then the generation as JSON. Files are written whole, synced and renamed into place, so a
// crash leaves the old generations or the old ones and the new one, never a torn file; a damaged
// file is named in the error and does not hide the others.
//
// The package never touches the kernel, and never changes a generation once it is written.
package history

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// Generation is one applied State. Its JSON is the format on disk.
type Generation struct {
	Number    int       `json:"generation"` // from 1, never used twice
	Time      time.Time `json:"time"`
	User      string    `json:"user"`
	From      string    `json:"from"` // the SSH client's address, or ""
	Reason    string    `json:"reason"`
	Backend   string    `json:"backend"`
	Origin    string    `json:"origin"`  // where the policy was read from
	Summary   string    `json:"summary"` // what it changed, in a line
	Confirmed bool      `json:"confirmed"`
	// TornDown marks the end: the rules were removed, and State is empty.
	TornDown bool           `json:"torn_down,omitempty"`
	State    firewall.State `json:"state"`
}

// Keep is how many generations are kept.
const Keep = 50

// ErrNone: no generation is in force: none was ever applied, or the last one was torn down.
var ErrNone = errors.New("nothing has been applied yet")

// Store is the history of a host in a folder.
type Store struct {
	dir string
	// write writes a file whole or not at all; a field so that tests can make it fail.
	write func(path string, content []byte, mode fs.FileMode) error
}

// Open opens a folder, and makes it if it is missing. It fails if the folder can't be written: better now than
// after the kernel has been changed.
func Open(dir string) (*Store, error) {
	s := View(dir)
	folder := filepath.Join(dir, "generations")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("the state directory can't be made: %w (set PORTGRAVE_STATE_DIR, or run as root)", err)
	}
	if err := unix.Access(folder, unix.W_OK|unix.X_OK); err != nil {
		return nil, fmt.Errorf("the state directory %s can't be written: %w (set PORTGRAVE_STATE_DIR, or run as root)", dir, err)
	}
	return s, nil
}

// View opens a folder for reading only; it need not exist.
func View(dir string) *Store { return &Store{dir: dir, write: writeSynced} }

// writeSynced writes beside the target, syncs, renames, and syncs the folder, so that the name
// survives a power cut too.
func writeSynced(path string, content []byte, mode fs.FileMode) error {
	if err := renameio.WriteFile(path, content, mode); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

const suffix = ".generation"

func (s *Store) path(n int) string {
	return filepath.Join(s.dir, "generations", fmt.Sprintf("%06d%s", n, suffix))
}

// numbers lists the generations on disk, ascending, readable or not.
func (s *Store) numbers() ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "generations"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), suffix)
		if n, err := strconv.Atoi(name); ours && err == nil && n > 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Load reads one generation. A missing one is fs.ErrNotExist; a damaged one an error that names the file.
func (s *Store) Load(n int) (*Generation, error) {
	path := s.path(n)
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("generation %d: %w", n, err)
	}
	sum, body, found := bytes.Cut(content, []byte("\n"))
	var g Generation
	if !found || string(sum) != checksum(body) {
		return nil, fmt.Errorf("generation %d: %s is damaged (its checksum is wrong)", n, path)
	}
	if err := json.Unmarshal(body, &g); err != nil {
		return nil, fmt.Errorf("generation %d: %s: %w", n, path, err)
	}
	return &g, nil
}

func checksum(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Last is the generation in force, or ErrNone. If its file is damaged the error names it; older ones are still there for Load.
func (s *Store) Last() (*Generation, error) {
	numbers, err := s.numbers()
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

// List reads every generation, the oldest first, and joins the errors of those that can't be read.
func (s *Store) List() ([]Generation, error) {
	numbers, err := s.numbers()
	if err != nil {
		return nil, err
	}
	var out []Generation
	var errs []error
	for _, n := range numbers {
		g, err := s.Load(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, *g)
	}
	return out, errors.Join(errs...)
}

// Append writes a generation under the next number and returns it. Hold the Lock.
func (s *Store) Append(g Generation) (Generation, error) {
	numbers, err := s.numbers()
	if err != nil {
		return g, err
	}
	g.Number = 1
	if len(numbers) > 0 {
		g.Number = numbers[len(numbers)-1] + 1
	}
	body, err := json.Marshal(g)
	if err != nil {
		return g, err
	}
	if err := s.write(s.path(g.Number), append([]byte(checksum(body)+"\n"), body...), 0o600); err != nil {
		return g, fmt.Errorf("generation %d could not be recorded: %w", g.Number, err)
	}
	for _, old := range numbers[:max(0, len(numbers)+1-Keep)] {
		// One too many is no harm; the next Append tries again.
		_ = os.Remove(s.path(old))
	}
	return g, nil
}

// Clear records that the rules were removed: Last is ErrNone from then on, and numbers go on rising.
func (s *Store) Clear(g Generation) (Generation, error) {
	g.TornDown, g.State = true, firewall.State{}
	return s.Append(g)
}

// Lock keeps other runs out until unlock is called or the process ends. It waits as long as it
// is told; the error names the process that holds the lock.
func (s *Store) Lock(ctx context.Context, wait time.Duration) (unlock func(), err error) {
	path := filepath.Join(s.dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(wait)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
		}
		if time.Now().After(deadline) {
			holder, _ := os.ReadFile(path)
			_ = f.Close()
			return nil, fmt.Errorf("another portgrave (process %s) holds %s since %v or longer: wait for it, or end it", bytes.TrimSpace(holder), path, wait)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(f, "%d\n", os.Getpid()) // only for the message above
	}
	return func() { _ = f.Close() }, nil // closing releases it
}
