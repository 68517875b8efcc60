package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// isolated runs f in a fresh network namespace, on a thread that is not used for anything else.
// Programs that f starts run there.
func isolated(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// never unlocked: the thread ends with this goroutine, and the namespace with it
		runtime.LockOSThread()
		done <- func() error {
			const own = "/proc/thread-self/ns/net"
			before, err := os.Readlink(own)
			if err != nil {
				return err
			}
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("making a network namespace: %w", err)
			}
			after, err := os.Readlink(own)
			if err != nil || after == before {
				return fmt.Errorf(
					"the thread is still in %s (%w); nothing was done there", before, err,
				)
			}
			return f()
		}()
	}()
	return <-done
}
