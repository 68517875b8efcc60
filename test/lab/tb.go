package lab

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
)

// TB is the part of testing.TB that the lab uses; Run gives one to programs that are no tests.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// RequireRoot skips a test, saying so, when it does not run as root. That is the only reason for
// which a test of the lab may be skipped.
func RequireRoot(t interface {
	Helper()
	Skipf(format string, args ...any)
}) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("SKIPPED: not root: network namespaces can't be made (run as root, or under unshare -Urn)")
	}
}

// Run calls f with a TB for programs that are no tests: Logf and Errorf write lines to log, Fatalf
// ends f. Whatever f registered with Cleanup has run when Run returns. The error is the first that
// was reported, or nil.
func Run(log io.Writer, f func(t TB)) error {
	r := &runner{log: log}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.clean()
		f(r)
	}()
	<-done
	return r.err
}

// runner is the TB behind Run.
type runner struct {
	log io.Writer

	mu       sync.Mutex
	err      error
	cleanups []func()
}

func (r *runner) Helper() {}

func (r *runner) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.log, format+"\n", args...)
}

func (r *runner) Errorf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *runner) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *runner) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// clean runs the clean-ups, last registered first, each even when another one called Fatalf.
func (r *runner) clean() {
	r.mu.Lock()
	n := len(r.cleanups)
	if n == 0 {
		r.mu.Unlock()
		return
	}
	f := r.cleanups[n-1]
	r.cleanups = r.cleanups[:n-1]
	r.mu.Unlock()
	defer r.clean()
	f()
}
