package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// fakeTimer hands its ticks out one by one, and says how long was to be waited for each.
type fakeTimer struct {
	now   time.Time
	waits chan time.Duration
	ticks chan time.Time
}

func newFakeProgress(terminal bool) (*progress, *strings.Builder, *fakeTimer) {
	var out strings.Builder
	f := &fakeTimer{
		now:   time.Unix(0, 0),
		waits: make(chan time.Duration),
		ticks: make(chan time.Time),
	}
	return &progress{out: &out, terminal: terminal, now: func() time.Time { return f.now },
		after: func(d time.Duration) <-chan time.Time { f.waits <- d; return f.ticks }}, &out, f
}

// pass lets the time go by that is waited for.
func (f *fakeTimer) pass() {
	f.now = f.now.Add(<-f.waits)
	f.ticks <- f.now
}

func TestProgress(t *testing.T) {
	for terminal, want := range map[bool]string{
		false: "portgrave: reading the policy (1 s)\nportgrave: reading the policy: 5 entries (6 s)\nportgrave: warning: look\n",
		true:  "\r\x1b[Kportgrave: reading the policy (1 s)\r\x1b[Kportgrave: reading the policy: 5 entries (1 s)\r\x1b[Kportgrave: warning: look\n",
	} {
		p, out, timer := newFakeProgress(terminal)
		s := p.begin("reading the policy")
		timer.pass()
		wait := <-timer.waits // the first line is written
		s.counted(5)
		timer.now = timer.now.Add(wait)
		timer.ticks <- timer.now
		<-timer.waits
		_, _ = fmt.Fprintln(p, "portgrave: warning: look")
		s.end()
		if out.String() != want {
			t.Errorf("terminal %v: %q, not %q", terminal, out, want)
		}
	}
}

// TestProgressOfWhatIsSoonDone shows nothing at all.
func TestProgressOfWhatIsSoonDone(t *testing.T) {
	p, out, timer := newFakeProgress(true)
	s := p.begin("reading the policy")
	if wait := <-timer.waits; wait != time.Second {
		t.Errorf("something is shown after %s", wait)
	}
	s.end()
	(*progress)(nil).begin("nothing").end()
	if out.Len() > 0 {
		t.Errorf("%q", out)
	}
}
