package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
	"github.com/prometheus/client_golang/prometheus"
)

// Event is one thing that happened to the rules. Its JSON is one line of the drift log and of drift
// --watch.
type Event struct {
	At time.Time `json:"at"`
	// Kind is "repaired", "failed" (a repair that could not be done), "hook" (somebody now stands
	// before or beside us: nothing to repair, but to know), "fight" (another program keeps undoing
	// the rules, or has stopped) or "exposure" (a port can be reached by somebody who could not
	// before, through whatever rules).
	Kind string `json:"kind"`
	// Author is who did it, as far as it is known; null where nothing is.
	Author  *firewall.Author  `json:"author"`
	Summary string            `json:"summary"`
	Changes []firewall.Change `json:"changes"` // what the repair changed, the first hundred
	Count   int               `json:"count"`   // of all changes
	// from the notification until the kernel held the State again
	Took  float64 `json:"took_ms"`
	Error string  `json:"error,omitempty"`
}

// shownChanges is how many changes an Event lists.
const shownChanges = 100

// logName is the drift log's name in the state directory.
const logName = "drift.jsonl"

const (
	keptEvents = 1000    // in memory
	logSize    = 1 << 20 // of the drift log, before it is moved aside: two files at most
)

// events keeps what happened, in memory and on disk, and tells those who follow. Followers who
// don't keep up lose events rather than delay anybody.
type events struct {
	mu        sync.Mutex
	recent    []Event
	total     map[string]uint64 // by kind
	followers map[chan Event]struct{}
	following [api.Standings]int // the number of followers of each standing
	path      string             // of the log; "" keeps none

	durations prometheus.Histogram // of repairs, in seconds
}

// kinds are those of Event.
var kinds = []string{"repaired", "failed", "hook", "fight", "exposure"}

func newEvents(dir string) *events {
	e := &events{followers: map[chan Event]struct{}{}, total: map[string]uint64{},
		durations: prometheus.NewHistogram(
			prometheus.HistogramOpts{Name: "portgrave_repair_duration_seconds",
				Help: "From the notification of a change until the kernel held the generation in force again.", Buckets: repairBuckets},
		)}
	if dir != "" {
		e.path = filepath.Join(dir, logName)
	}
	return e
}

func (e *events) add(x Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	x.Count = 0
	for _, c := range x.Changes {
		x.Count += c.Count
	}
	x.Changes = x.Changes[:min(len(x.Changes), shownChanges)]
	if x.Changes == nil {
		x.Changes = []firewall.Change{}
	}
	e.total[x.Kind]++
	if x.Kind == "repaired" {
		e.durations.Observe(x.Took / 1000)
	}
	e.recent = append(e.recent, x)
	if len(e.recent) > keptEvents {
		e.recent = append(e.recent[:0], e.recent[len(e.recent)-keptEvents:]...)
	}
	for f := range e.followers {
		select {
		case f <- x:
		default:
		}
	}
	return e.log(x)
}

// log appends a line. Readers skip a line that a crash has cut short.
func (e *events) log(x Event) error {
	if e.path == "" {
		return nil
	}
	if info, err := os.Lstat(e.path); err == nil && info.Size() > logSize {
		if err := statefiles.Rename(e.path, logName+".old"); err != nil {
			return err
		}
	}
	line, err := json.Marshal(x)
	if err != nil {
		return err
	}
	f, err := statefiles.Open(e.path, os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// ReadLog reads the events that a daemon has kept in a state directory, the oldest first. Lines
// that a crash has cut short are passed over.
func ReadLog(dir string) ([]Event, error) {
	events := []Event{}
	for _, name := range []string{logName + ".old", logName} {
		b, err := statefiles.Read(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("%w: %w", firewall.ErrPermission, err)
		}
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(b) {
			var e Event
			if json.Unmarshal(line, &e) == nil {
				events = append(events, e)
			}
		}
	}
	return events, nil
}

// last returns what happened last.
func (e *events) last() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Event(nil), e.recent...)
}

// follow returns a channel of what happens from now on, until stop is called. It refuses when
// api.MaxStreams of the same standing follow already.
func (e *events) follow(as api.Standing) (next <-chan Event, stop func(), ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.following[as] >= api.MaxStreams {
		return nil, nil, false
	}
	c := make(chan Event, 256)
	e.followers[c] = struct{}{}
	e.following[as]++
	return c, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.followers, c)
		e.following[as]--
	}, true
}

func (e *events) counts() map[string]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]uint64{}
	for k, n := range e.total {
		out[k] = n
	}
	return out
}
