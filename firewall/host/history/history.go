// Package history keeps the applied States of a host: generation by generation, what was applied,
// when, by whom and why. Drift is measured against the newest; rollback and boot go back to one.
//
// A Store is a folder. Each generation is a file of its own, named by its number: a line with a
// checksum, a line of JSON that tells what the generation is, and what it enforces in binary form,
// which a boot reads in a moment however many sources there are. Files are written whole, synced
// and renamed into place, so a crash leaves the old generations or the old ones and the new one,
// never a torn file; a damaged file is named in the error and does not hide the others.
//
// A generation that waits to be confirmed is confirmed by a file of its own beside it. The text of
// its policy stands in another folder, once for all generations that have it. So do large sets (see
// sets.go). A generation that goes back to an earlier one sets aside what lists hold meanwhile:
// the daemon, which follows lists, leaves them until their content changes (see setaside.go).
//
// The package never touches the kernel's rules, and never changes a generation once it is written.
package history

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
	"golang.org/x/sys/unix"
)

const (
	// Keep is how many generations are kept.
	Keep = 50
	// keepBytes is how large they may be together with their sets, since a million sources take 8
	// MB of IPv4, or 32 of IPv6; the newest keepLeast are kept however large they are.
	keepBytes = 256 << 20
	keepLeast = 5
)

var (
	// ErrNone: no generation is in force: none was ever applied, or the last one was torn down.
	ErrNone = errors.New("nothing has been applied yet")
	// ErrTornDown is the ErrNone of a host whose rules were removed, and stay so until the next
	// apply.
	ErrTornDown error = tornDown{}
	// ErrDamaged: a file holds no generation that can be trusted.
	ErrDamaged = errors.New("damaged")
)

// tornDown is ErrTornDown. It has words of its own and is an ErrNone.
type tornDown struct{}

func (tornDown) Error() string { return "portgrave teardown has removed the rules" }
func (tornDown) Unwrap() error { return ErrNone }

// Store is the history of a host in a folder. Reading needs no lock: files appear whole. Append and
// Clear are for the holder of Lock.
type Store struct {
	dir   string
	files statefiles.Records
	texts statefiles.Folder // of policies; see KeepPolicy
	sets  statefiles.Folder // bases of large sets; see storedSet
	// last is the newest generation, if it is in memory: what Append writes builds on it.
	last *Generation
	held *os.File // the lock's file, kept open by Hold; nil: each Lock opens it
}

// Open opens a folder, and makes it if it is missing. What killed processes have left in it half
// written is removed. It fails if the folder can't be written: better now than after the kernel has
// been changed.
func Open(dir string) (*Store, error) {
	s := View(dir)
	path := filepath.Join(dir, generations)
	if err := statefiles.MakeAll(path, 0o700); err != nil {
		return nil, fmt.Errorf(
			"the state directory can't be made: %w (set PORTGRAVE_STATE_DIR, or run as root)",
			err,
		)
	}
	// the lock stands in the one, the generations in the other
	for _, d := range []string{dir, path} {
		if err := unix.Access(d, unix.R_OK|unix.W_OK|unix.X_OK); err != nil {
			return nil, fmt.Errorf(
				"the state directory %s can't be written: %w (set PORTGRAVE_STATE_DIR, or run as root)",
				d,
				err,
			)
		}
	}
	statefiles.Clean(dir)
	return s, nil
}

// View opens a folder for reading only; it need not exist.
func View(dir string) *Store {
	return &Store{
		dir: dir,
		files: statefiles.Records{
			Folder: statefiles.At(filepath.Join(dir, generations)),
			Path:   filepath.Join(dir, generations),
			Kind:   "generation",
			IsID:   func(id string) bool { return numberOf(id) > 0 },
			Beside: []string{
				confirmedEnding, policyEnding, asideEnding, withdrawnEnding, takenBackEnding,
			},
		},
		texts: statefiles.At(filepath.Join(dir, texts)),
		sets:  statefiles.At(filepath.Join(dir, sets)),
	}
}

const generations = "generations"

// idOf has six digits so that names sort like numbers; a seventh does no harm.
func idOf(n int) string { return fmt.Sprintf("%06d", n) }

// numberOf is the number of an ID; 0 of anything else.
func numberOf(id string) int {
	if n, err := strconv.Atoi(id); err == nil && n > 0 && idOf(n) == id {
		return n
	}
	return 0
}

func (s *Store) fileName(n int) string { return s.files.File(idOf(n)) }

func (s *Store) path(n int) string { return s.files.PathOf(idOf(n)) }

// numbers lists the generations on disk, ascending, readable or not, and joins errors that name
// what in the folder is none.
func (s *Store) numbers() (numbers []int, foreign, err error) {
	ids, others, err := s.files.IDs()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the history: %w", err)
	}
	for _, id := range ids {
		numbers = append(numbers, numberOf(id))
	}
	slices.Sort(numbers)
	return numbers, errors.Join(others...), nil
}

// Load reads one generation. A missing one is fs.ErrNotExist; of a damaged one the error wraps
// ErrDamaged and names the file.
func (s *Store) Load(n int) (*Generation, error) {
	stamp := s.stampOf(n)
	record, enforces, err := s.load(n)
	if err != nil {
		return nil, err
	}
	g := &Generation{Record: record, large: storedSets{}}
	read := address.Read
	if len(record.Sets) > 0 {
		r := setReader{store: s, bases: map[string]storedSet{}, large: g.large}
		read = r.set
	}
	err = decodeStates(enforces, g, read)
	if set := (setError{}); errors.As(err, &set) {
		return nil, fmt.Errorf("generation %d can't be read: %w", n, set)
	}
	if err != nil {
		return nil, s.damaged(n, err.Error())
	}
	if s.stampOf(n) == stamp {
		g.stamp = stamp
	}
	return g, nil
}

// Enforces returns what the generation in force is, if it enforces exactly these States and nothing
// is wrong with its file. It asks the file piece by piece, and so needs none of the memory that
// Last takes for a million sources, unless large sets of it have changed since their bases.
func (s *Store) Enforces(state firewall.State, leased *firewall.State) (Record, bool) {
	n, err := s.Newest()
	if err != nil || n == 0 {
		return Record{}, false
	}
	f, err := s.files.Open(s.fileName(n))
	if err != nil {
		return Record{}, false
	}
	defer func() { _ = f.Close() }()
	var large storedSets
	head, err := s.HeadOf(n)
	if err == nil && len(head.Sets) > 0 {
		large = s.wholeBases(state, leased)
	}
	if err == nil && len(head.Sets) > 0 && large == nil {
		return s.enforces(n, state, leased)
	}
	line, same, err := statefiles.Holds(f, encodeStates(state, leased, large))
	if err == nil && !same && large != nil {
		return s.enforces(n, state, leased) // it may say the same in another way
	}
	if err != nil || !same {
		return Record{}, false
	}
	record, _, err := decodeRecord(line)
	if err != nil || record.Number != n || record.TornDown {
		return Record{}, false
	}
	return s.completed(record), true
}

// enforces is Enforces for the newest generation if it has to be read. The next Append then builds
// on it.
func (s *Store) enforces(n int, state firewall.State, leased *firewall.State) (Record, bool) {
	g, err := s.Load(n)
	if err == nil {
		s.Remember(g)
	}
	if err != nil || g.TornDown || !g.State.Equal(state) || (g.Leased == nil) != (leased == nil) ||
		leased != nil && !g.Leased.Equal(*leased) {
		return Record{}, false
	}
	return g.Record, true
}

// load reads what a generation is, and the bytes of what it enforces.
func (s *Store) load(n int) (Record, []byte, error) {
	body, err := s.files.Body(idOf(n))
	if damaged := statefiles.DamagedError(""); errors.As(err, &damaged) {
		return Record{}, nil, s.damaged(n, err.Error())
	}
	if err != nil {
		return Record{}, nil, fmt.Errorf("generation %d: %w", n, err)
	}
	record, enforces, err := decodeRecord(body)
	if err != nil {
		return Record{}, nil, s.damaged(n, err.Error())
	}
	if record.Number != n {
		return Record{}, nil, fmt.Errorf(
			"generation %d: %s holds generation %d, so it was copied or renamed (%w): move it away",
			n,
			s.path(n),
			record.Number,
			ErrDamaged,
		)
	}
	return s.completed(record), enforces, nil
}

// completed adds what was said of a generation later: that it was confirmed, which policy means the
// same, and which lists are followed again.
func (s *Store) completed(r Record) Record {
	if name, err := s.files.Read(policyName(r.Number)); err == nil {
		r.Policy = strings.TrimSpace(string(name))
	}
	r.SetAside = s.leftAside(r)
	if !r.Confirmed {
		// A file that can't be read counts as none: taking back what works is the smaller harm.
		_, err := s.files.Read(confirmedName(r.Number))
		r.Confirmed = err == nil
	}
	return r
}

func (s *Store) damaged(n int, why string) error {
	return fmt.Errorf("generation %d: %s is %w (%s): move it away", n, s.path(n), ErrDamaged, why)
}

// Last is the generation in force, or ErrNone. If its file is damaged the error names it; older
// ones are still there for Load.
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
		return nil, ErrTornDown
	}
	return g, nil
}

// Head is what the generation in force is, from the beginning of its file: enough to know where to
// look, without reading a million sources. Nothing is verified: whether the file is whole, Last
// tells.
func (s *Store) Head() (Record, error) {
	n, err := s.Newest()
	if err != nil {
		return Record{}, err
	}
	if n == 0 {
		return Record{}, ErrNone
	}
	record, err := s.HeadOf(n)
	if err == nil && record.TornDown {
		return Record{}, ErrTornDown
	}
	return record, err
}

// HeadOf is what a generation is, like Head. A missing one is fs.ErrNotExist; of one without a head
// the error wraps ErrDamaged.
func (s *Store) HeadOf(n int) (Record, error) {
	f, err := s.files.Open(s.fileName(n))
	if err != nil {
		return Record{}, fmt.Errorf("generation %d: %w", n, err)
	}
	defer func() { _ = f.Close() }()
	record, err := readHead(f)
	if err != nil {
		return Record{}, s.damaged(n, err.Error())
	}
	return s.completed(record), nil
}

// longestHead bounds what is read in search of the ends of a file's first lines.
const longestHead = 1 << 20

// readHead reads the two lines that a file begins with: its checksum, and what the generation is.
func readHead(file io.Reader) (Record, error) {
	in := bufio.NewReader(io.LimitReader(file, longestHead))
	if _, err := in.ReadSlice('\n'); err != nil {
		return Record{}, err
	}
	line, err := in.ReadBytes('\n')
	if err != nil {
		return Record{}, err
	}
	record, _, err := decodeRecord(line)
	return record, err
}

// Newest is the number of the newest generation, 0 if there is none: a cheap way to see that there
// is nothing new.
func (s *Store) Newest() (int, error) {
	numbers, _, err := s.numbers()
	if err != nil || len(numbers) == 0 {
		return 0, err
	}
	return numbers[len(numbers)-1], nil
}

// List reads what every generation is, but not what it enforces, the oldest first, and joins the
// errors of those that can't be read.
func (s *Store) List() ([]Record, error) {
	numbers, foreign, err := s.numbers()
	if err != nil {
		return nil, err
	}
	errs, whole := []error{foreign}, map[string]bool{}
	var out []Record
	for _, n := range numbers {
		r, _, err := s.load(n)
		usable := true
		for _, base := range r.Sets {
			if _, known := whole[base]; !known {
				whole[base] = s.baseIsWhole(&storedSet{base: base})
				if !whole[base] { // said once for all generations that need it
					_, unreadable := s.readBase(base)
					errs = append(errs, unreadable)
				}
			}
			usable = usable && whole[base]
		}
		switch {
		case errors.Is(err, fs.ErrNotExist): // thrown out by an Append meanwhile
		case err != nil:
			errs = append(errs, err)
		case usable:
			out = append(out, r)
		}
	}
	return out, errors.Join(errs...)
}

// Append writes a generation under the next number and returns it. After an error no generation is
// recorded, unless the error says that only its survival is uncertain. Hold the Lock.
func (s *Store) Append(g Generation) (Generation, error) {
	numbers, _, err := s.numbers()
	if err != nil {
		return g, err
	}
	g.Number = 1
	if len(numbers) > 0 {
		g.Number = numbers[len(numbers)-1] + 1
	}
	withdrawn := s.withdrawn()
	for _, n := range withdrawn {
		g.Number = max(g.Number, n+1)
	}
	g.Services = len(g.State.Services)
	last := s.last
	if last != nil && (len(numbers) == 0 || last.Number != numbers[len(numbers)-1]) {
		last = nil
	}
	if last != nil {
		_, _ = s.Mend(last) // what can't be mended is not built on
	}
	if err := s.store(&g, last); err != nil {
		return g, fmt.Errorf("generation %d could not be recorded: %w", g.Number, err)
	}
	content, err := statefiles.Seal(encode(g))
	if err != nil {
		return g, fmt.Errorf("generation %d could not be encoded: %w", g.Number, err)
	}
	if err := s.files.Write(s.fileName(g.Number), content); err != nil {
		return g, fmt.Errorf("generation %d could not be recorded: %w", g.Number, err)
	}
	if err := s.files.Sync(); err != nil {
		return g, fmt.Errorf(
			"generation %d is recorded but may not survive a power cut: %w",
			g.Number,
			err,
		)
	}
	g.stamp = s.stampOf(g.Number)
	for _, n := range withdrawn {
		_ = s.files.Remove(withdrawnName(n)) // its number is behind us now
		_ = s.files.Remove(takenBackName(n))
	}
	for _, old := range s.tooMany() {
		_ = s.remove(old) // one too many is no harm; the next Append tries again
	}
	s.forgetSets()
	return g, nil
}

// tooMany are the oldest generations, which make room.
func (s *Store) tooMany() []int {
	numbers, _, err := s.numbers()
	if err != nil {
		return nil
	}
	sizes, all := make([]int64, len(numbers)), s.sizeOfAllSets()
	for i, n := range numbers {
		if sizes[i], err = s.files.Size(s.fileName(n)); err == nil {
			all += sizes[i]
		}
	}
	bytes, counted := int64(0), map[string]bool{}
	for i := len(numbers) - 1; i >= 0; i-- {
		bytes += sizes[i]
		if all > keepBytes { // else it need not be known which sets are whose
			bytes += s.sizeOfSets(numbers[i], counted)
		}
		if kept := len(numbers) - i; kept > Keep || kept > keepLeast && bytes > keepBytes {
			return numbers[:i+1]
		}
	}
	return nil
}

// Forget removes a generation that a later one stands for: it is not what somebody would go back
// to.
func (s *Store) Forget(n int) error {
	if err := s.remove(n); err != nil {
		return fmt.Errorf(
			"generation %d stays in the history although a later one is the same: %w",
			n,
			err,
		)
	}
	return nil
}

// remove removes all files of a generation.
func (s *Store) remove(n int) error {
	for _, name := range []string{s.fileName(n), confirmedName(n), policyName(n), asideName(n)} {
		if err := s.files.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Clear records that the rules were removed: Last is ErrTornDown from then on, and numbers go on
// rising.
func (s *Store) Clear(g Generation) (Generation, error) {
	g.TornDown, g.State, g.Leased, g.Policy = true, firewall.State{}, nil, ""
	return s.Append(g)
}
