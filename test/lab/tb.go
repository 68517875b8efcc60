package lab

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
)

// TB is the part of testing.TB that the lab uses. Run provides one outside of tests.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// RequireRoot skips a test, with a message, unless it runs as root. A test of the lab must not be
// skipped for any other reason.
func RequireRoot(t interface {
	Helper()
	Skipf(format string, args ...any)
}) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("SKIPPED: not root: network namespaces can't be made (run as root, or under " +
			"unshare -Urn)")
	}
}

// Run calls f with a TB, for programs that are not tests. Logf and Errorf write lines to log, and
// Fatalf ends f. Run returns after the functions registered with Cleanup. The error is the first
// that was reported, or nil.
func Run(log io.Writer, f func(t TB)) error {
	r := &runner{log: log}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.runCleanups()
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

// runCleanups runs the clean-ups, last registered first, even if one of them calls Fatalf.
func (r *runner) runCleanups() {
	r.mu.Lock()
	n := len(r.cleanups)
	if n == 0 {
		r.mu.Unlock()
		return
	}
	f := r.cleanups[n-1]
	r.cleanups = r.cleanups[:n-1]
	r.mu.Unlock()
	defer r.runCleanups()
	f()
}
