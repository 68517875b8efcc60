package xt

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sizes of the pipe to a program. A pipe may have up to fs.pipe-max-size, 1 MiB unless somebody has changed it; what there is by itself is 64 KiB.
const (
	pipeSize = 1 << 20
	portion  = 64 << 10
)

// runFed runs a program that reads what input writes meanwhile: however much that is, no more of it than the pipe holds is anywhere.
func runFed(cmd *exec.Cmd, input func(*bufio.Writer)) error {
	if input == nil {
		return cmd.Run()
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdin = theirs
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		_ = ours.Close()
		return err
	}
	pipe := newFeed(ours)
	w := bufio.NewWriterSize(pipe, portion)
	input(w)
	// A program that ended before it had read everything says by its exit status whether that was right.
	writeErr := w.Flush()
	if err := ours.Close(); writeErr == nil {
		writeErr = err
	}
	if err := cmd.Wait(); err != nil {
		return err
	}
	if writeErr != nil && !errors.Is(writeErr, syscall.EPIPE) {
		return fmt.Errorf("writing its input: %w", writeErr)
	}
	return nil
}

// feed writes to a pipe whose reader is the slower side. It waits until half of the pipe has been read: else the kernel
// wakes us for each 4 KiB that the reader takes, which for a million elements costs more than to write them.
type feed struct {
	pipe *os.File
	size int // 0: unknown; the kernel blocks us as it likes
}

// pause is how long to wait between two looks, in milliseconds. The ipset program reads half of the pipe in some 50.
const pause = 10

func newFeed(pipe *os.File) *feed {
	f := &feed{pipe: pipe}
	f.control(func(fd int) {
		if size, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize); err == nil {
			f.size = size
		}
	})
	return f
}

// control calls with the descriptor, which stays as non-blocking as it is.
func (f *feed) control(call func(fd int)) {
	if raw, err := f.pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { call(int(fd)) })
	}
}

func (f *feed) Write(b []byte) (int, error) {
	for f.queued() > f.size/2 {
		gone := false
		f.control(func(fd int) {
			// With no events asked for it only returns before its time when there is no reader any more.
			n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, pause)
			gone = n > 0
		})
		if gone {
			break // writing says so
		}
	}
	return f.pipe.Write(b)
}

// queued is how much of what was written has not been read (TIOCINQ is FIONREAD by its other name).
func (f *feed) queued() int {
	n := 0
	if f.size > 0 {
		f.control(func(fd int) { n, _ = unix.IoctlGetInt(fd, unix.TIOCINQ) })
	}
	return n
}
