package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/policy"
)

// glancePatience replaces policy.WriterPatience in runs that only show what is so: it is enough for
// an editor that is saving.
const glancePatience = 500 * time.Millisecond

// howToRead says how a policy is read.
type howToRead struct {
	offline bool // with only what is on this host
	// from the text of a policy that was in force before; nil reads the policy's files
	text []byte
	// from a stream, with the path as its name; nil reads the policy's files
	from  io.Reader
	files policy.Files
	quiet bool // the caller prints the warnings
	// hears of the policy before its networks are loaded; nil ignores it
	parsed func(*policy.Policy)
}

// openToWrite opens or makes a file to write. It refuses a FIFO that no program reads, rather than
// wait for a reader.
func openToWrite(path string, flags int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NONBLOCK|flags, mode)
	if errors.Is(err, unix.ENXIO) {
		return nil, fmt.Errorf("no program reads %s: start its reader first", path)
	}
	return f, err
}

// exposedFiles collects, once each, files and folders that others may write.
type exposedFiles struct {
	mu   sync.Mutex
	seen map[policy.Problem]bool
	list []policy.Problem
}

// add is a policy.Files.Exposed.
func (e *exposedFiles) add(p policy.Problem) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil {
		e.seen = map[policy.Problem]bool{}
	}
	if !e.seen[p] {
		e.seen[p] = true
		e.list = append(e.list, p)
	}
}
