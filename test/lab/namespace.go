package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// threadNamespace is the calling thread's network namespace.
const threadNamespace = "/proc/thread-self/ns/net"

// errClosed is the error of a node whose world is closed.
var errClosed = errors.New("lab: the world is closed")

// namespace is an unnamed network namespace. The open file keeps it alive. The inode identifies it,
// and is compared before anything is done inside.
type namespace struct {
	inode uint64

	mu   sync.RWMutex // held for reading while the file is in use, so that its number is not reused
	file *os.File
}

// threadInode returns the inode of the calling thread's network namespace.
func threadInode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(threadNamespace, &st); err != nil {
		return 0, fmt.Errorf("lab: %s: %w", threadNamespace, err)
	}
	return st.Ino, nil
}

// newNamespace makes an empty network namespace.
func newNamespace() (*namespace, error) {
	s := &namespace{}
	err := onThread(func() error {
		before, err := threadInode()
		if err != nil {
			return err
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("lab: making a network namespace: %w", err)
		}
		f, err := os.Open(threadNamespace)
		if err != nil {
			return err
		}
		s.inode, err = threadInode()
		if err == nil && s.inode == before {
			err = errors.New("lab: the kernel left the thread in the namespace it was in")
		}
		if err != nil {
			_ = f.Close()
			return err
		}
		s.file = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// do runs f on a thread inside the namespace.
func (s *namespace) do(f func() error) error {
	return onThread(func() error {
		if err := s.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter moves the calling thread, which must be locked, into the namespace.
func (s *namespace) enter() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.file == nil {
		return errClosed
	}
	if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("lab: entering the namespace: %w", err)
	}
	// Check where the thread is: a descriptor that was closed and reused leads elsewhere.
	at, err := threadInode()
	if err != nil {
		return err
	}
	if at != s.inode {
		return fmt.Errorf("lab: entered namespace %d instead of %d; nothing was done there",
			at, s.inode)
	}
	return nil
}

// path names the namespace for other programs, while it is open.
func (s *namespace) path() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.file == nil {
		return ""
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.file.Fd())
}

// close releases the namespace. The kernel removes it when nothing else runs or listens inside.
func (s *namespace) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}

// onThread runs f on a thread of its own and waits for it. f may change the thread's network
// namespace. Afterwards the thread is moved back. If that fails, the thread stays locked, so that
// it ends with the goroutine and serves no other.
//
// If f ends its goroutine (as testing.T.FailNow does), onThread ends the caller's too.
func onThread(f func() error) error {
	var err error
	returned := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		home, e := os.Open(threadNamespace)
		if e != nil {
			err, returned = e, true
			return
		}
		defer func() {
			if returnTo(home) {
				runtime.UnlockOSThread()
			}
			_ = home.Close()
		}()
		err = f()
		returned = true
	}()
	<-done
	if !returned {
		runtime.Goexit()
	}
	return err
}

// returnTo moves the thread to the namespace of home, and reports whether it is there.
func returnTo(home *os.File) bool {
	var st unix.Stat_t
	if unix.Fstat(int(home.Fd()), &st) != nil {
		return false
	}
	if at, err := threadInode(); err == nil && at == st.Ino {
		return true
	}
	if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) != nil {
		return false
	}
	at, err := threadInode()
	return err == nil && at == st.Ino
}
