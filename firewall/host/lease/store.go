package lease

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// Store is the leases of a host in a folder. Reading needs no lock: files appear whole. Add and
// Remove are for the holder of the state directory's lock (history.Store.Lock).
type Store struct {
	// Clock is read whenever leases are; bootclock.System unless somebody sets another.
	Clock func() Reading

	files  statefiles.Records
	drawID func() string
}

// MaxLeases is how many leases may run at a time: a bound on what a script gone wild can do.
const MaxLeases = 10_000

// At is the store in a state directory. Neither it nor anything in it need exist yet.
func At(stateDir string) *Store {
	dir := filepath.Join(stateDir, "leases")
	return &Store{
		Clock: bootclock.System,
		files: statefiles.Records{
			Folder:  statefiles.At(dir),
			Path:    dir,
			Kind:    "lease",
			IsID:    isID,
			MaxSize: maxFile,
		},
		drawID: drawID,
	}
}

// List reads the leases that are not over, those that end first at the front, with their times by
// the clock as it is now. What can't be read, or is no lease, opens nothing and hides nothing:
// damaged has an error for each, naming the file. err means that the folder as a whole could not be
// read: then it is unknown which leases there are, and nothing must be decided as if there were
// none.
func (s *Store) List() (leases []Lease, damaged []error, err error) {
	now := s.Clock()
	ids, damaged, err := s.ids()
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		l, err := s.load(id, now)
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		case err != nil:
			damaged = append(damaged, err)
		case !l.Ended(now.Wall):
			leases = append(leases, l)
		}
	}
	slices.SortFunc(leases, func(a, b Lease) int {
		return cmp.Or(a.Until.Compare(b.Until), strings.Compare(a.ID, b.ID))
	})
	return leases, damaged, nil
}

// Ended reads the leases that are over and still kept, for the caller that records their end.
// Damaged ones are passed over: List names them.
func (s *Store) Ended() ([]Lease, error) {
	now := s.Clock()
	ids, _, err := s.ids()
	if err != nil {
		return nil, err
	}
	var over []Lease
	for _, id := range ids {
		if l, err := s.load(id, now); err == nil && l.Ended(now.Wall) {
			over = append(over, l)
		}
	}
	return over, nil
}

// Forget removes leases that are over. What can't be removed opens nothing, and the next Add tries
// again. It is for the holder of the lock.
func (s *Store) Forget(over []Lease) {
	for _, l := range over {
		_ = s.files.Remove(s.files.File(l.ID))
	}
}

// ids lists the leases on disk, and errors that name what in the folder is none.
func (s *Store) ids() (ids []string, foreign []error, err error) {
	if ids, foreign, err = s.files.IDs(); err != nil {
		err = fmt.Errorf("reading the leases: %w", err)
	}
	return ids, foreign, err
}

func (s *Store) load(id string, now Reading) (Lease, error) {
	body, err := s.files.Body(id)
	if damaged := statefiles.DamagedError(""); err != nil && !errors.As(err, &damaged) {
		path := s.files.PathOf(id)
		return Lease{}, fmt.Errorf("a lease can't be read, so it opens nothing: %s: %w", path, err)
	}
	var f file
	if err == nil {
		f, err = decode(body)
	}
	if err == nil && f.lease.ID != id {
		err = fmt.Errorf("it holds lease %s, so it was copied or renamed", f.lease.ID)
	}
	if err != nil {
		return Lease{}, fmt.Errorf(
			"a lease is damaged, so it opens nothing: %s: %w: move it away",
			s.files.PathOf(id),
			err,
		)
	}
	return f.lease.atClock(f.origin, now), nil
}

// Add gives a lease its ID and keeps it. After an error it is not kept, unless the error says so.
// Leases that are over are removed on the occasion.
func (s *Store) Add(l Lease) (Lease, error) {
	now := s.Clock()
	if err := l.check(); err != nil {
		return l, err
	}
	if err := s.files.Make(); err != nil {
		return l, fmt.Errorf(
			"the lease could not be recorded: %w (set PORTGRAVE_STATE_DIR, or run as root)",
			err,
		)
	}
	ids, err := s.prune(now)
	if err != nil {
		return l, fmt.Errorf("the lease could not be recorded: %w", err)
	}
	if err := room(len(ids)); err != nil {
		return l, err
	}
	for l.ID = s.drawID(); slices.Contains(ids, l.ID); l.ID = s.drawID() {
	}
	name := s.files.File(l.ID)
	body, err := encode(file{l, originOf(now)})
	if err != nil {
		return l, fmt.Errorf("the lease could not be encoded: %w", err)
	}
	if err := s.files.Write(name, statefiles.Bytes(statefiles.SealBytes(body))); err != nil {
		// Renamed and then failed, or not: gone either way.
		if rerr := s.files.Remove(name); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			return l, fmt.Errorf(
				"the lease may have been recorded: close %s: %w",
				l.ID,
				errors.Join(err, rerr),
			)
		}
		return l, fmt.Errorf("the lease could not be recorded: %w", err)
	}
	if err := s.files.Sync(); err != nil {
		// An opening that nobody knows of after a power cut is worse than none.
		if rerr := s.files.Remove(name); rerr != nil {
			return l, fmt.Errorf(
				"the lease is recorded but may not survive a power cut: close %s: %w",
				l.ID,
				errors.Join(err, rerr),
			)
		}
		return l, fmt.Errorf("the lease could not be recorded for good: %w", err)
	}
	return l, nil
}

// HasRoom returns the error of Add for the case that MaxLeases run. It writes nothing.
func (s *Store) HasRoom() error {
	now := s.Clock()
	ids, _, err := s.ids()
	if err != nil {
		return err
	}
	if len(ids) < MaxLeases {
		return nil
	}
	return room(len(slices.DeleteFunc(ids, func(id string) bool {
		l, err := s.load(id, now)
		return err == nil && l.Ended(now.Wall)
	})))
}

// room refuses one lease more than MaxLeases.
func room(running int) error {
	if running < MaxLeases {
		return nil
	}
	return fmt.Errorf(
		"the lease could not be recorded: %d leases run already, and that is the most: close some",
		running,
	)
}

// ErrUncertain: a lease was removed, but a power cut may bring it back.
var ErrUncertain = errors.New("a power cut may bring the lease back until it ends")

// Remove forgets a lease. A missing one is fs.ErrNotExist. After ErrUncertain it is removed as far
// as anybody can tell; after any other error it is not. Leases that are over are removed on the
// occasion.
func (s *Store) Remove(id string) error {
	if !isID(id) {
		return fmt.Errorf("lease %q: %w", id, fs.ErrNotExist)
	}
	if err := s.files.Remove(s.files.File(id)); err != nil {
		return fmt.Errorf("lease %s could not be closed: %w", id, err)
	}
	_, _ = s.prune(s.Clock()) // what is over opens nothing; the next Add tries again
	if err := s.files.Sync(); err != nil {
		return fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return nil
}

// prune removes the leases that are over and returns the IDs of the others, damaged ones among
// them: what can't be read is for people to look at.
func (s *Store) prune(now Reading) (left []string, err error) {
	ids, _, err := s.ids()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		l, err := s.load(id, now)
		if err == nil && l.Ended(now.Wall) && s.files.Remove(s.files.File(id)) == nil {
			continue
		}
		left = append(left, id)
	}
	return left, nil
}

// file is what one file holds behind its checksum, as JSON.
type file struct {
	lease  Lease
	origin origin
}

type fileJSON struct {
	Lease  wire   `json:"lease"`
	Origin origin `json:"clock"`
}

func encode(f file) ([]byte, error) {
	return json.Marshal(fileJSON{f.lease.wire(), f.origin})
}

// maxFile is far above what encode makes of the largest lease.
const maxFile = 1 << 20

// decode reads the body of what encode made, and nothing else: a field it does not know may be one
// that restricts the lease.
func decode(body []byte) (file, error) {
	var j fileJSON
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return file{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return file{}, errors.New("something follows the lease")
	}
	l, err := j.Lease.lease()
	if err == nil && !isID(l.ID) {
		err = fmt.Errorf("%q is no ID", l.ID)
	}
	return file{l, j.Origin}, err
}
