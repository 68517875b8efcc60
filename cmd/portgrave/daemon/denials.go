package daemon

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/denied"
)

// keptDenials is how many reports of refused packets the daemon remembers; the log has all of them.
const keptDenials = 200

// Denials passes the reports of refused packets on to those who follow them, and remembers the last
// ones. A follower that is too slow misses some: the log doesn't. Its methods may be called
// concurrently.
type Denials struct {
	mu        sync.Mutex
	recent    []denied.Event
	followers map[chan denied.Event]struct{}
	following [api.Standings]int // the number of followers of each standing
}

// NewDenials has no reports yet.
func NewDenials() *Denials { return &Denials{followers: map[chan denied.Event]struct{}{}} }

// Tee returns an emit function that also has the reports of another one.
func (d *Denials) Tee(emit func(denied.Event) error) func(denied.Event) error {
	return func(e denied.Event) error {
		d.add(e)
		return emit(e)
	}
}

func (d *Denials) add(e denied.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recent = append(d.recent, e)
	if len(d.recent) > 2*keptDenials { // rarely, as a flood has many
		d.recent = append(d.recent[:0], d.recent[len(d.recent)-keptDenials:]...)
	}
	for f := range d.followers {
		select {
		case f <- e:
		default:
		}
	}
}

func (d *Denials) last() []denied.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]denied.Event{}, d.recent[max(0, len(d.recent)-keptDenials):]...)
}

// follow returns a channel of what is reported from now on, until stop is called. It refuses when
// api.MaxStreams of the same standing follow already.
func (d *Denials) follow(as api.Standing) (next <-chan denied.Event, stop func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.following[as] >= api.MaxStreams {
		return nil, nil, false
	}
	c := make(chan denied.Event, keptDenials)
	d.followers[c] = struct{}{}
	d.following[as]++
	return c, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.followers, c)
		d.following[as]--
	}, true
}

// errNoReports: the daemon does not hear of refused packets.
var errNoReports = errors.New("the daemon does not report who is refused, since it runs with " +
	"--denied off, or another program had taken the reports when it began")

// getDenied answers with the last reports, or, with ?follow=1, with one a line from now on.
func (d *Daemon) getDenied(w http.ResponseWriter, r *http.Request) {
	if d.Denials == nil {
		api.Fail(w, errNoReports)
		return
	}
	if r.URL.Query().Get("follow") == "" {
		answer(w, map[string]any{"events": d.Denials.last()})
		return
	}
	next, stop, ok := d.Denials.follow(api.StandingOf(r))
	if !ok {
		api.Crowded(w)
		return
	}
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	_ = out.Flush()
	for {
		select {
		case e := <-next:
			_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if json.NewEncoder(w).Encode(e) != nil || out.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
