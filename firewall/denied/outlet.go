package denied

import (
	"sync/atomic"
	"time"
)

// outlet separates the reader, which must never block, from a writer, which may. It has a bounded
// queue and counts the packets lost on both sides.
type outlet struct {
	queue chan Event
	// window is how long losses are counted before they are reported.
	window     time.Duration
	lost       atomic.Uint64 // packets in all
	unreported atomic.Uint64 // lost packets that no event has reported yet
	abandoned  atomic.Bool   // the writer blocks, and gets no more events
}

func newOutlet(size int, window time.Duration) *outlet {
	return &outlet{queue: make(chan Event, size), window: window}
}

// put queues an event. If the queue is full, its packets are lost.
func (o *outlet) put(e Event) {
	select {
	case o.queue <- e:
	default:
		o.addLoss(e.Count)
	}
}

func (o *outlet) addLoss(packets uint64) {
	o.lost.Add(packets)
	o.unreported.Add(packets)
}

// run passes events to the writer until the queue is closed and empty. It reports losses a window
// after the first of them, and at the end.
func (o *outlet) run(emit func(Event) error) {
	var since time.Time
	var timer <-chan time.Time
	for {
		select {
		case e, more := <-o.queue:
			if !more {
				o.reportLosses(emit, since)
				return
			}
			if o.abandoned.Load() || emit(e) != nil {
				o.addLoss(e.Count)
			}
		case <-timer:
			o.reportLosses(emit, since)
			timer = nil
		}
		if timer == nil && o.unreported.Load() > 0 {
			since, timer = time.Now(), time.After(o.window)
		}
	}
}

// reportLosses emits an event for the losses. If the writer refuses it, they are reported next
// time.
func (o *outlet) reportLosses(emit func(Event) error, since time.Time) {
	now := time.Now()
	n := o.unreported.Load()
	if n == 0 || o.abandoned.Load() {
		return
	}
	if since.IsZero() {
		since = now
	}
	if emit(Event{Time: since, Last: now, Action: Lost, Count: n}) == nil {
		o.unreported.Add(-n)
	}
}

// abandon counts the queued events as lost, after the queue was closed. The writer still has the
// event of its current call.
func (o *outlet) abandon() {
	o.abandoned.Store(true)
	for e := range o.queue {
		o.addLoss(e.Count)
	}
}
