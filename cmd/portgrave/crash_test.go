package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCrashEndsBySignal: a crash can't be taken for an exit code, of which 2 says that there is
// something to report. Go answers SIGQUIT as it answers a panic: it prints its goroutines and
// crashes.
func TestCrashEndsBySignal(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "portgrave") // by its name TestMain runs main
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	// The schema is longer than the pipe, and nobody reads: so it waits in the middle.
	room, err := unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `ulimit -c 0; exec "$0" schema`, program)
	cmd.Stdout = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	for range 1000 {
		// TIOCINQ is FIONREAD (ioctl_pipe(2)): how much is in the pipe.
		if n, err := unix.IoctlGetInt(int(out.Fd()), unix.TIOCINQ); err != nil || n == room {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Signal(unix.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) {
		t.Fatalf("it ended with %v", err)
	}
	if how := ended.Sys().(syscall.WaitStatus); !how.Signaled() || how.Signal() != unix.SIGABRT {
		t.Errorf("a crash ends with %v", ended)
	}
}
