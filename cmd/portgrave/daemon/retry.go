package daemon

import (
	"errors"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Bounds on trying again what failed. The first time at once, nearly: what stood in the way is most
// often another program's commit at the same moment, and until the rules are in force again the
// host is open.
const (
	firstRetry   = 20 * time.Millisecond
	longestRetry = time.Minute
	// firstReading is the first time for a policy that could not be recorded. The rules in force
	// stay meanwhile, and reading takes long if there are very many sources.
	firstReading = time.Second
	// contendedRetry bounds it while others write at the same moment, which ends when they do.
	contendedRetry = 200 * time.Millisecond
)

// retry says when to enforce again after a failure: soon, and then ever later, until it succeeds.
type retry struct {
	at    time.Time // zero: there is nothing to try again
	pause time.Duration
}

// after notes how an attempt went.
func (r *retry) after(err error) { r.since(firstRetry, err) }

// since is after for what is not urgent at first.
func (r *retry) since(first time.Duration, err error) {
	if err == nil {
		*r = retry{}
		return
	}
	r.pause = min(max(first, 2*r.pause), longestRetry)
	if errors.Is(err, firewall.ErrConflict) || errors.Is(err, firewall.ErrNotHeld) {
		r.pause = min(r.pause, contendedRetry)
	}
	r.at = time.Now().Add(r.pause)
}

// due fires when it is time, but not before wait is over: against a program that undoes each
// attempt, trying again would be most of the work.
func (r *retry) due(wait time.Duration) <-chan time.Time {
	if r.at.IsZero() {
		return nil
	}
	return time.After(max(time.Until(r.at), wait))
}

// first reports whether nothing was tried again yet.
func (r *retry) first() bool { return r.pause == firstRetry }
