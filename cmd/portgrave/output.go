package main

import (
	"io"
	"sync"
)

// output is standard output, which remembers that something could not be written: verbs print
// without looking, and run looks in the end.
type output struct {
	to io.Writer

	mu     sync.Mutex
	failed error // the first error; after it nothing is written, since what follows a gap misleads
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed != nil {
		return 0, o.failed
	}
	n, err := o.to.Write(b)
	o.failed = err
	return n, err
}

// err is what could not be written, or nil.
func (o *output) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

// close ends the output, and returns the first error: some file systems tell only then what they
// could not keep (close(2)).
func (o *output) close() error {
	failed := o.err()
	if c, ok := o.to.(io.Closer); ok {
		if err := c.Close(); failed == nil {
			return err
		}
	}
	return failed
}
