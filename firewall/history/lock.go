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

	"github.com/portgrave/portgrave/firewall/statefiles"
	"golang.org/x/sys/unix"
)

// lockPoll is how often a waiting Lock tries again: flock(2) can't wait with a limit.
const lockPoll = 50 * time.Millisecond

// Lock keeps other runs out until unlock is called or the process ends, however it ends. It waits no longer
// than it is told, or until ctx is done; the error names the process that holds the lock and what to do.
func (s *Store) Lock(ctx context.Context, wait time.Duration) (unlock func(), err error) {
	path := filepath.Join(s.dir, "lock")
	f, err := statefiles.Open(path, os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("locking the state directory: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
		}
		select {
		case <-waiting.Done():
			holder := holderOf(f)
			_ = f.Close()
			if err := ctx.Err(); err != nil {
				return nil, fmt.Errorf("waiting for %s, which %s holds: %w", path, holder, err)
			}
			return nil, fmt.Errorf("%s holds %s (waited %v): let it finish and try again, or end it", holder, path, wait)
		case <-time.After(lockPoll):
		}
	}
	// The number serves the messages above only; the lock itself is the kernel's.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return func() {
		_ = f.Truncate(0)
		_ = f.Close() // closing releases it
	}, nil
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
