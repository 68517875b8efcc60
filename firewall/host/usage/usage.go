// Package usage makes rates of counters, and tells when they last rose. The kernel has neither: it
// counts since the rules were made, and doesn't say when that was. So each look at the counters is
// kept until the next ones, and only what lies between two looks is told.
//
// Counters that have fallen were begun anew. Then everything kept is forgotten, since what was
// counted in between is unknown.
package usage

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// Counts are packets since the counters began.
type Counts struct {
	Allowed uint64 `json:"allowed"`
	Refused uint64 `json:"refused"`
}

// Usage is what two looks tell of one service. Its JSON is part of status.
type Usage struct {
	// Since is the earlier look that the rates are about.
	Since time.Time `json:"since"`
	// Packets per minute since then.
	AllowedPerMinute float64 `json:"allowed_per_minute"`
	RefusedPerMinute float64 `json:"refused_per_minute"`
	// LastAllowed and LastRefused are when a packet was last counted; null if that is unknown.
	LastAllowed *Window `json:"last_allowed"`
	LastRefused *Window `json:"last_refused"`
}

// Window is between two looks.
type Window struct {
	After  time.Time `json:"after"`
	Before time.Time `json:"before"`
}

// look is what the counters were at a moment.
type look struct {
	Wall   time.Time         `json:"wall"`
	BootID string            `json:"boot_id"`
	Uptime time.Duration     `json:"uptime"`
	Counts map[string]Counts `json:"counts"`
}

type windows struct {
	Allowed *Window `json:"allowed,omitempty"`
	Refused *Window `json:"refused,omitempty"`
}

// Book keeps looks. Its zero value has none.
type Book struct {
	// Base and Next are at least rateSpan apart, so that rates are about a time that people mean.
	Base *look              `json:"base,omitempty"`
	Next *look              `json:"next,omitempty"`
	Last *look              `json:"last,omitempty"`
	Used map[string]windows `json:"used,omitempty"`
}

const (
	// rateSpan is the time over which rates are counted, unless the first look is younger.
	rateSpan = time.Minute
	// minSpan is the shortest time that a rate is computed for.
	minSpan = 5 * time.Second
)

// Look adds what the counters are now, and tells what is known by it.
func (b *Book) Look(now bootclock.Reading, counts map[string]Counts) map[string]Usage {
	seen := &look{now.Wall.UTC(), now.BootID, now.Uptime, maps.Clone(counts)}
	if b.Last != nil && !seen.follows(b.Last) {
		*b = Book{}
	}
	b.forgetGone(counts)
	used := map[string]windows{}
	for name, is := range counts {
		w := b.Used[name]
		if b.Last != nil {
			was, window := b.Last.Counts[name], &Window{b.Last.Wall, seen.Wall}
			if is.Allowed > was.Allowed {
				w.Allowed = window
			}
			if is.Refused > was.Refused {
				w.Refused = window
			}
		}
		if w != (windows{}) {
			used[name] = w
		}
	}
	b.Used = used
	switch {
	case b.Base == nil:
		b.Base = seen
	case b.Next == nil && seen.Uptime-b.Base.Uptime >= rateSpan:
		b.Next = seen
	case b.Next != nil && seen.Uptime-b.Next.Uptime >= rateSpan:
		b.Base, b.Next = b.Next, seen
	}
	b.Last = seen
	return b.usage(seen)
}

// forgetGone forgets names that counts lacks: one that comes back counts from 0.
func (b *Book) forgetGone(counts map[string]Counts) {
	for _, kept := range []*look{b.Base, b.Next} {
		if kept != nil {
			maps.DeleteFunc(kept.Counts, func(name string, _ Counts) bool {
				_, there := counts[name]
				return !there
			})
		}
	}
}

// usage tells what is known at a look.
func (b *Book) usage(seen *look) map[string]Usage {
	out := map[string]Usage{}
	span := seen.Uptime - b.Base.Uptime
	if span < minSpan {
		return out
	}
	for name, is := range seen.Counts {
		was, known := b.Base.Counts[name]
		if !known || is.Allowed < was.Allowed || is.Refused < was.Refused {
			continue
		}
		perMinute := func(n uint64) float64 { return float64(n) / span.Minutes() }
		out[name] = Usage{
			Since:            b.Base.Wall,
			AllowedPerMinute: perMinute(is.Allowed - was.Allowed),
			RefusedPerMinute: perMinute(is.Refused - was.Refused),
			LastAllowed:      b.Used[name].Allowed,
			LastRefused:      b.Used[name].Refused,
		}
	}
	return out
}

// follows reports whether counters can have risen from one look to this one.
func (l *look) follows(before *look) bool {
	if l.BootID != before.BootID || l.Uptime < before.Uptime {
		return false
	}
	for name, was := range before.Counts {
		is, there := l.Counts[name]
		if there && (is.Allowed < was.Allowed || is.Refused < was.Refused) {
			return false
		}
	}
	return true
}

// Read reads a book from a file. One that can't be read is empty: then rates are left out.
func Read(path string) *Book {
	var b Book
	if text, err := statefiles.Read(path); err != nil || json.Unmarshal(text, &b) != nil {
		return &Book{}
	}
	return &b
}

// Write keeps a book in a file.
func (b *Book) Write(path string) error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return statefiles.Write(path, statefiles.Bytes(text))
}
