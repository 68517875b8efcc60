package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Watcher listens to nf_tables of one network namespace.
//
// It captures commits from New to Close. It queues up to 256 events for Next, and then one event
// with Lost for all others. Commits before New returned are not reported, so the consumer must read
// the rules after New. All methods may be called from any goroutine. Each event goes to one caller
// of Next.
type Watcher struct {
	events chan Event
	done   chan struct{} // closed when the listener has ended
	err    error         // why it ended; valid after done is closed

	mu       sync.Mutex // serialises requests
	requests chan func()
	wake     int // eventfd that wakes the listener for a request
	closed   bool
	listener *listener // used only by its own thread
}

// maxQueuedEvents bounds the events that wait for Next.
const maxQueuedEvents = 256

// receiveBufferBytes is the size of the socket's buffer, for notifications that come while the
// listener doesn't run. The kernel allocates the memory only when it is needed.
const receiveBufferBytes = 32 << 20

// ErrClosed is what a closed Watcher returns.
var ErrClosed = errors.New("the watch on nf_tables was closed")

// New watches nf_tables of the calling thread's network namespace. ours says where our rules are.
// The error wraps firewall.ErrPermission without CAP_NET_ADMIN, and firewall.ErrUnsupported on a
// kernel without nf_tables.
func New(ours Rules) (*Watcher, error) { return open(receiveBufferBytes, ours) }

func open(buffer int, ours Rules) (*Watcher, error) {
	w := &Watcher{
		events:   make(chan Event, maxQueuedEvents+1),
		done:     make(chan struct{}),
		requests: make(chan func()),
	}
	l, err := newListener(buffer, ours, w.deliver)
	if err != nil {
		return nil, fmt.Errorf("watching nf_tables: %w", netlink.Unsupported("nf_tables", err))
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		l.close()
		return nil, fmt.Errorf("watching nf_tables: %w", err)
	}
	w.listener = l
	go func() {
		defer close(w.done)
		if err := l.run(w.wake, w.requests); err != nil {
			w.err = fmt.Errorf("watching nf_tables: %w", err)
		}
		l.close()
	}()
	return w, nil
}

// deliver queues an event and never blocks. The last place in the queue holds the loss that stands
// for all events that found no place. While it is taken, the consumer has yet to read the rules.
func (w *Watcher) deliver(e Event) {
	switch waiting := len(w.events); {
	case waiting < maxQueuedEvents:
		w.events <- e
	case waiting == maxQueuedEvents:
		w.events <- Event{At: e.At, Lost: true, Summary: "more commits than anybody waited for"}
	}
}

// Next waits for an event. It returns the context's error if the context ends, and ErrClosed after
// Close.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	if err := ctx.Err(); err != nil {
		return Event{}, err
	}
	select {
	case e := <-w.events:
		return e, nil
	default:
	}
	select {
	case e := <-w.events:
		return e, nil
	case <-ctx.Done():
		return Event{}, ctx.Err()
	case <-w.done:
		if w.err != nil {
			return Event{}, w.err
		}
		return Event{}, ErrClosed
	}
}

// Ignore hides the commits of a netlink socket, by its port id, until unignore is called. Call
// unignore when that socket is closed, because the kernel assigns its port id to another socket.
func (w *Watcher) Ignore(portID uint32) (unignore func()) {
	w.request(func(l *listener) { l.ignored[portID]++ })
	return sync.OnceFunc(func() {
		w.request(func(l *listener) {
			if l.ignored[portID]--; l.ignored[portID] <= 0 {
				delete(l.ignored, portID)
			}
		})
	})
}

// Pause stops listening, because a listener makes bulk loads several times slower for all programs.
// Commits made before Pause are still reported. The caller must call Resume.
func (w *Watcher) Pause() error {
	var err error
	if !w.request(func(l *listener) { err = l.pause() }) {
		return ErrClosed
	}
	return err
}

// Resume listens again. Commits between Pause and Resume are not reported. generation is the one
// that the consumer's own last commit made, or 0. If the current generation differs, another
// program committed meanwhile, and an event with Lost says so. If the Watcher can't listen again it
// ends, and Next returns the error.
func (w *Watcher) Resume(generation uint32) error {
	var err error
	if !w.request(func(l *listener) { err = l.resume(generation) }) {
		return ErrClosed
	}
	return err
}

// Close ends the watch. Queued events can still be read.
func (w *Watcher) Close() error {
	w.request(func(l *listener) { l.stopped = true })
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	return unix.Close(w.wake)
}

// request runs f on the listener's thread and waits for it. It returns false if the watch has
// ended.
func (w *Watcher) request(f func(*listener)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	// An eventfd takes a count in the machine's byte order. Any count but 0 wakes the listener.
	if _, err := unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return false
	}
	executed := make(chan struct{})
	select {
	case w.requests <- func() { f(w.listener); close(executed) }:
		<-executed
		return true
	case <-w.done:
		return false
	}
}
