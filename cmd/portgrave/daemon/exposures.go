package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"golang.org/x/sys/unix"
)

// How often what the host exposes is looked at: soon after somebody has changed rules, but not more
// often than once a minute, and now and then in any case, since nobody tells of new listeners.
// While somebody watches, every few seconds.
const (
	lookSettle   = 2 * time.Second
	lookPause    = time.Minute
	lookAnyway   = 10 * time.Minute
	lookWatched  = 5 * time.Second
	maxNewlyOpen = 100 // events of one look
)

// exposures looks at what the host exposes, beside the loop, and tells what is new. Reading another
// program's ten thousand rules delays no repair.
type exposures struct {
	audit func(context.Context) (audit.Report, error) // nil: nobody looks
	tell  func(Event)
	fail  func(error)

	asking   sync.Mutex // held while somebody's request is answered
	mu       sync.Mutex
	last     *audit.Report
	authors  []*firewall.Author // of the rules changed since the last look, at most two
	watchers int
	wake     chan struct{} // something has changed, or somebody watches
}

func newExposures(
	look func(context.Context) (audit.Report, error),
	tell func(Event),
	fail func(error),
) *exposures {
	return &exposures{audit: look, tell: tell, fail: fail, wake: make(chan struct{}, 1)}
}

// changed notes that somebody has changed rules of whatever table.
func (x *exposures) changed(by *firewall.Author) {
	x.mu.Lock()
	if len(x.authors) < 2 && !slices.ContainsFunc(x.authors, func(a *firewall.Author) bool {
		return a != nil && by != nil && a.PID == by.PID && a.Command == by.Command
	}) {
		x.authors = append(x.authors, by)
	}
	x.mu.Unlock()
	x.nudge()
}

func (x *exposures) nudge() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// watch says that somebody wants to hear at once, until done is called.
func (x *exposures) watch() (done func()) {
	x.add(1)
	x.nudge()
	return func() { x.add(-1) }
}

func (x *exposures) add(n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.watchers += n
}

func (x *exposures) watched() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.watchers > 0
}

// run looks until ctx ends.
func (x *exposures) run(ctx context.Context) {
	if x.audit == nil {
		return
	}
	// Whatever a look costs, a repair comes first: the thread is this goroutine's alone, and ends
	// with it.
	runtime.LockOSThread()
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
	for {
		began := time.Now()
		x.look(ctx)
		woken := false
		for {
			wait := lookAnyway - time.Since(began)
			switch {
			case x.watched():
				wait = lookWatched - time.Since(began)
			case woken:
				wait = max(lookSettle, lookPause-time.Since(began))
			}
			if wait <= 0 {
				break
			}
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-x.wake:
				timer.Stop()
				woken = true
				if x.watched() {
					if !sleep(ctx, lookSettle) {
						return
					}
				} else {
					continue
				}
			case <-timer.C:
			}
			break
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// look audits, and tells what is reachable that was not before. The first look tells nothing: what
// it finds was there.
func (x *exposures) look(ctx context.Context) {
	x.mu.Lock()
	authors := x.authors
	x.authors = nil
	x.mu.Unlock()
	report, err := x.audit(ctx)
	debug.FreeOSMemory() // of tens of thousands of rules nothing is needed any more
	if err != nil {
		if ctx.Err() == nil {
			x.fail(err)
		}
		return
	}
	x.mu.Lock()
	before := x.last
	x.last = &report
	x.mu.Unlock()
	if before == nil {
		return
	}
	var by *firewall.Author
	if len(authors) == 1 {
		by = authors[0]
	}
	for n, e := range newlyOpen(*before, report, by) {
		if n == maxNewlyOpen {
			break
		}
		x.tell(e)
	}
}

// newlyOpen is an event for each port that can be reached by somebody who could not before. Who
// caused it is the process that has begun to listen, or else who changed rules since, if it was one
// only.
func newlyOpen(before, after audit.Report, by *firewall.Author) (events []Event) {
	type key struct {
		protocol, address, iface, target string
		port, last                       uint16
	}
	keyOf := func(x audit.Exposure) key {
		return key{x.Protocol, x.Address, x.Interface, x.Target, x.Port, x.PortLast}
	}
	old := map[key]audit.Exposure{}
	for _, x := range before.Exposures {
		old[keyOf(x)] = x
	}
	at := time.Now()
	for _, x := range after.Exposures {
		was, there := old[keyOf(x)]
		fresh := x.Reachable.Possible.Minus(was.Reachable.Possible)
		if fresh.Len() == 0 {
			continue
		}
		e := Event{At: at, Kind: "exposure", Author: by}
		who := x.Process
		if !there && x.Target == "" && x.PID != 0 {
			e.Author = &firewall.Author{Command: x.Process, PID: x.PID, Unit: x.Unit, At: at}
		}
		if who != "" {
			who = " (" + who + ")"
		}
		to := ""
		if x.Target != "" {
			to = ", published to " + x.Target
		}
		list := fresh.FirstStrings(4)
		if fresh.Len() > len(list) {
			list[3] = fmt.Sprintf("… %d in all", fresh.Len())
		}
		on := ""
		if x.Interface != "" {
			on = " on " + x.Interface
		}
		e.Summary = fmt.Sprintf(
			"%s/%d%s%s%s can now be reached from %s: %s",
			x.Protocol,
			x.Port,
			who,
			on,
			to,
			strings.Join(list, " "),
			x.Finding,
		)
		events = append(events, e)
	}
	return events
}

// findings counts rows by their finding, for metrics; nil before the first look.
func (x *exposures) findings() map[audit.Kind]int {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.last == nil {
		return nil
	}
	n := map[audit.Kind]int{}
	for _, k := range audit.Kinds() {
		n[k] = 0
	}
	for _, e := range x.last.Exposures {
		n[e.Finding]++
	}
	return n
}

// getAudit answers with what the host exposes now.
func (d *Daemon) getAudit(w http.ResponseWriter, r *http.Request) {
	if d.Audit == nil {
		api.Fail(w, errors.New("this daemon does not audit"))
		return
	}
	// In turn, so that no number of askers takes the processor.
	if !d.exposed.asking.TryLock() {
		w.Header().Set("Retry-After", "5")
		api.Fail(w, api.ErrBusy)
		return
	}
	defer d.exposed.asking.Unlock()
	report, err := d.Audit(r.Context())
	if err != nil {
		api.Fail(w, err)
		return
	}
	answer(w, report)
}
