package history

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/host/statefiles"
	"golang.org/x/sys/unix"
)

// lockPoll is how often a waiting Lock tries again: flock(2) can't wait with a limit.
const lockPoll = 50 * time.Millisecond

// ErrHeld: another run has the lock, and did not finish in time.
var ErrHeld = errors.New("the state directory is locked")

// Hold keeps the file of the lock open from now on, so that Lock needs neither the disk nor a new
// descriptor. It is for who must go on when there is none of either: a daemon.
func (s *Store) Hold() error {
	f, err := s.openLock()
	if err != nil {
		return fmt.Errorf("locking the state directory: %w", err)
	}
	if s.held != nil {
		_ = s.held.Close()
	}
	s.held = f
	return nil
}

func (s *Store) lockPath() string { return filepath.Join(s.dir, "lock") }

// openLock opens the file to lock it, which needs no writing: on a file system that is read-only
// runs still keep each other out, and a file that is open for writing would keep an administrator
// from making it read-only.
func (s *Store) openLock() (*os.File, error) {
	return statefiles.Open(s.lockPath(), os.O_RDONLY|unix.O_NONBLOCK)
}

// lockFile is the file to lock, and whether the caller must close it. The one that Hold keeps open
// serves as long as the path leads to it or can't be asked.
func (s *Store) lockFile() (f *os.File, own bool, err error) {
	if s.held != nil {
		there, err := os.Stat(s.lockPath())
		held, herr := s.held.Stat()
		if err != nil || herr != nil || os.SameFile(there, held) || s.Hold() != nil {
			return s.held, false, nil
		}
		return s.held, false, nil
	}
	f, err = s.openLock()
	return f, true, err
}

// Lock keeps other runs out until unlock is called or the process ends, however it ends. It waits
// no longer than wait, or until ctx is done; the error then wraps ErrHeld, and names the
// process that holds the lock and what to do.
func (s *Store) Lock(ctx context.Context, wait time.Duration) (unlock func(), err error) {
	path := s.lockPath()
	f, own, err := s.lockFile()
	if err != nil {
		return nil, fmt.Errorf("locking the state directory: %w", err)
	}
	release := func() error {
		if own {
			return f.Close() // which releases the lock
		}
		return unix.Flock(int(f.Fd()), unix.LOCK_UN)
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), release())
		}
		select {
		case <-waiting.Done():
			holder := holderOf(f)
			_ = release()
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("waiting for %s, which %s holds: %w", path, holder, err)
			}
			return nil, heldError{
				fmt.Sprintf(
					"%s holds %s (waited %v): let it finish and try again, or end it",
					holder,
					path,
					wait,
				),
			}
		case <-time.After(lockPoll):
		}
	}
	// The number serves the messages above only; the lock itself is the kernel's.
	s.signLock(strconv.Itoa(os.Getpid()) + "\n")
	return func() {
		s.signLock("")
		_ = release()
	}, nil
}

// heldError is ErrHeld in words of its own.
type heldError struct{ text string }

func (e heldError) Error() string { return e.text }
func (e heldError) Unwrap() error { return ErrHeld }

// signLock writes who holds the lock into its file, if it can be written.
func (s *Store) signLock(text string) {
	f, err := os.OpenFile(
		s.lockPath(),
		os.O_WRONLY|os.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC,
		0,
	)
	if err != nil {
		return
	}
	_, _ = f.WriteString(text)
	_ = f.Close()
}

// holderOf reads who wrote the lock file.
func holderOf(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	pid, perr := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || perr != nil {
		return "another portgrave"
	}
	return fmt.Sprintf("another portgrave (process %d)", pid)
}
