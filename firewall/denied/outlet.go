package denied

import (
	"sync/atomic"
	"time"
)

// outlet stands between the reader, which must never wait, and a writer, which may: a bounded queue, and
// the account of what was lost on either side of it.
type outlet struct {
	queue chan Event
	// window is how long losses are gathered before they are said.
	window time.Duration
	lost   atomic.Uint64 // packets, in all
	unsaid atomic.Uint64 // those of which no event has told yet
	closed atomic.Bool   // the writer was given up
}

func newOutlet(size int, window time.Duration) *outlet {
	return &outlet{queue: make(chan Event, size), window: window}
}

// put queues an event, or counts its packets as lost.
func (o *outlet) put(e Event) {
	select {
	case o.queue <- e:
	default:
		o.lose(e.Count)
	}
}

func (o *outlet) lose(packets uint64) {
	o.lost.Add(packets)
	o.unsaid.Add(packets)
}

// run hands events to the writer until the queue is closed and empty. Losses are said a window after
// the first of them, and at the end.
func (o *outlet) run(emit func(Event) error) {
	var since time.Time
	var timer <-chan time.Time
	for {
		select {
		case e, more := <-o.queue:
			if !more {
				o.say(emit, since)
				return
			}
			if o.closed.Load() || emit(e) != nil {
				o.lose(e.Count)
			}
		case <-timer:
			o.say(emit, since)
			timer = nil
		}
		if timer == nil && o.unsaid.Load() > 0 {
			since, timer = time.Now(), time.After(o.window)
		}
	}
}

// say tells of losses. What the writer does not take is told the next time.
func (o *outlet) say(emit func(Event) error, since time.Time) {
	now := time.Now()
	n := o.unsaid.Load()
	if n == 0 || o.closed.Load() {
		return
	}
	if since.IsZero() {
		since = now
	}
	if emit(Event{Time: since, Last: now, Action: Lost, Count: n}) == nil {
		o.unsaid.Add(-n)
	}
}

// giveUp loses what is queued, after the queue was closed. The one event that the writer has in hand is still its own.
func (o *outlet) giveUp() {
	o.closed.Store(true)
	for e := range o.queue {
		o.lose(e.Count)
	}
}
