package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/exposure/rulesetfile"
)

// readDump reads a file of rules; "-" is standard input.
func readDump(path string) (*bytes.Buffer, error) {
	text, err := readBounded(path, rulesetfile.Limit)
	switch {
	case errors.Is(err, errFIFO):
		err = fmt.Errorf("%w: write <(command), or pipe the dump into --ruleset -", err)
	case errors.Is(err, errFolder):
		err = fmt.Errorf("%w: name the files in it one by one", err)
	case errors.Is(err, errDevice):
		err = fmt.Errorf("%w: pipe the text into it, or name a file", err)
	}
	return text, err
}

// readBounded reads a file, or a pipe that is open already, into memory of its size. Of one that is
// larger than limit it reads a byte more than that.
func readBounded(path string, limit int64) (*bytes.Buffer, error) {
	f, err := openBounded(path)
	if err != nil {
		return nil, err
	}
	var size int64
	if info, err := f.Stat(); err == nil {
		size = min(info.Size(), limit)
	}
	text := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	_, err = text.ReadFrom(io.LimitReader(f, limit+1))
	return text, errors.Join(err, f.Close())
}

// openBounded opens a regular file, or a pipe or socket that this process has open already:
// standard input, or what a shell passes for <(command). Others could block without end, as a FIFO that no
// program writes to.
func openBounded(path string) (*os.File, error) {
	if fd, ok := ownDescriptor(path); ok {
		return openDescriptor(fd, path)
	}
	info, err := os.Stat(path)
	if err == nil {
		err = checkMode(info.Mode(), false)
	}
	if err != nil {
		return nil, err
	}
	// If another file has taken its place since, opening it must not block.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = checkMode(info.Mode(), false)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openDescriptor returns a copy of a descriptor of this process. Opening its name again would fail
// for a socket, and read a regular file from its beginning.
func openDescriptor(fd int, path string) (*os.File, error) {
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if errors.Is(err, unix.EBADF) {
		return nil, errors.New("no file is open there")
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(own), path)
	info, err := f.Stat()
	if err == nil {
		err = checkMode(info.Mode(), true)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// ownDescriptor returns the descriptor that a path stands for.
func ownDescriptor(path string) (fd int, ok bool) {
	switch path = filepath.Clean(path); path {
	case "-", "/dev/stdin":
		return 0, true
	}
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/",
		fmt.Sprintf("/proc/%d/fd/", os.Getpid())} {
		if number, found := strings.CutPrefix(path, dir); found {
			fd, err := strconv.Atoi(number)
			return fd, err == nil && fd >= 0
		}
	}
	return 0, false
}

// What is not read. The callers say what to name instead.
var (
	errFIFO   = errors.New("it is a FIFO, which may never get a writer")
	errFolder = errors.New("it is a folder")
	errDevice = errors.New("it is a terminal or another device")
)

// checkMode refuses what may block without end. open: this process has it open already.
func checkMode(m fs.FileMode, open bool) error {
	switch {
	case m.IsRegular(), open && m&(fs.ModeNamedPipe|fs.ModeSocket) != 0:
		return nil
	case m.IsDir():
		return errFolder
	case m&fs.ModeNamedPipe != 0:
		return errFIFO
	case open && m&fs.ModeCharDevice != 0:
		return errDevice
	}
	return errors.New("it is neither a regular file nor an open pipe")
}
