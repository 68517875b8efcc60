package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// progress tells on standard error what takes longer than a second: on a terminal in a line that is
// overwritten, and goes when it is done; elsewhere, such as in the log of a job, in a line every
// few seconds.
type progress struct {
	out      io.Writer
	terminal bool
	now      func() time.Time
	after    func(time.Duration) <-chan time.Time
	verbose  bool // say of each stage how long it took

	mu    sync.Mutex
	shown bool // the line is on the terminal
}

const (
	progressAfter      = time.Second
	progressOnTerminal = 200 * time.Millisecond
	progressElsewhere  = 5 * time.Second
)

func newProgress(out io.Writer) *progress {
	return &progress{out: out, terminal: isTerminal(out), now: time.Now, after: time.After}
}

// stage is something that may take long.
type stage struct {
	p       *progress
	what    string
	began   time.Time
	entries atomic.Int64
	waiting atomic.Pointer[string] // the file whose writer has not finished
	stop    chan struct{}
	stopped sync.WaitGroup
}

// begin begins one. A nil progress shows nothing.
func (p *progress) begin(what string) *stage {
	s := &stage{p: p, what: what, stop: make(chan struct{})}
	if p != nil {
		s.began = p.now()
		s.stopped.Go(s.show)
	}
	return s
}

// counted adds to the number of entries that the line shows.
func (s *stage) counted(n int) { s.entries.Add(int64(n)) }

// waits says what is being waited for.
func (s *stage) waits(path string) { s.waiting.Store(&path) }

// end takes the line away.
func (s *stage) end() {
	close(s.stop)
	s.stopped.Wait()
	s.p.clear()
	if s.p != nil && s.p.verbose {
		took := s.p.now().Sub(s.began).Round(time.Millisecond)
		_, _ = fmt.Fprintf(s.p.out, "portgrave: %s took %s\n", s.what, took)
	}
}

func (s *stage) show() {
	wait := progressAfter
	for {
		select {
		case <-s.stop:
			return
		case <-s.p.after(wait):
		}
		wait = progressElsewhere
		if s.p.terminal {
			wait = progressOnTerminal
		}
		s.p.line(s.words())
	}
}

func (s *stage) words() string {
	words := s.what
	if n := s.entries.Load(); n > 0 {
		words += fmt.Sprintf(": %d entries", n)
	}
	if path := s.waiting.Load(); path != nil {
		words += fmt.Sprintf(": waiting until %s is written", *path)
	}
	return fmt.Sprintf("%s (%.0f s)", words, s.p.now().Sub(s.began).Seconds())
}

// eraseLine goes back to the beginning of the terminal's line and erases it (ECMA-48: EL).
const eraseLine = "\r\x1b[K"

func (p *progress) line(words string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		p.shown = true
		_, _ = fmt.Fprintf(p.out, "%sportgrave: %s", eraseLine, words)
		return
	}
	_, _ = fmt.Fprintf(p.out, "portgrave: %s\n", words)
}

func (p *progress) clear() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown {
		_, _ = io.WriteString(p.out, eraseLine)
		p.shown = false
	}
}

// writer is p, or what it would write to if there is none.
func (p *progress) writer(out io.Writer) io.Writer {
	if p == nil {
		return out
	}
	return p
}

// Write is for what else goes to standard error meanwhile: it does not land in the line.
func (p *progress) Write(b []byte) (int, error) {
	p.clear()
	return p.out.Write(b)
}

// during shows progress while f runs.
func during[A any](s *screen, what string, f func() (A, error)) (A, error) {
	defer s.progress.begin(what).end()
	return f()
}
