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
// It captures commits from New to Close, whether or not anybody calls Next; 256 wait for that, and more
// become one event with Lost. What was committed before New returned is not reported, so the
// consumer starts with reading the rules. Its methods may be called from any goroutine; each event goes
// to one caller of Next.
type Watcher struct {
	events chan Event
	done   chan struct{} // closed when the listener has ended
	err    error         // why; to be read after done

	mu       sync.Mutex // one request at a time
	requests chan func()
	wake     int // eventfd that makes the listener take a request
	closed   bool
	listener *listener // only its own thread touches it
}

// maxWaiting is how many events wait for Next.
const maxWaiting = 256

// receiveBuffer holds what comes while the listener is kept from the processor. The kernel takes the
// memory only when it is needed.
const receiveBuffer = 32 << 20

// ErrClosed is what a closed Watcher returns.
var ErrClosed = errors.New("the watch on nf_tables was closed")

// New watches nf_tables of the calling thread's network namespace; ours says where our rules are. The error wraps
// firewall.ErrPermission without CAP_NET_ADMIN and firewall.ErrUnsupported on a kernel without nf_tables.
func New(ours Rules) (*Watcher, error) { return open(receiveBuffer, ours) }

func open(buffer int, ours Rules) (*Watcher, error) {
	w := &Watcher{
		events:   make(chan Event, maxWaiting+1),
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

// deliver queues an event without ever waiting for the consumer. The last place is for the loss that stands for
// everything that found no other; while it is taken, the consumer has yet to resync.
func (w *Watcher) deliver(e Event) {
	switch waiting := len(w.events); {
	case waiting < maxWaiting:
		w.events <- e
	case waiting == maxWaiting:
		w.events <- Event{At: e.At, Lost: true, Summary: "more commits than anybody waited for"}
	}
}

// Next waits for an event. It returns the context's error when that ends, and ErrClosed after Close.
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

// Ignore leaves out the commits of one netlink socket, named by its port id, until heed is called. Call heed
// when that socket is closed: the kernel gives its number to the next who asks.
func (w *Watcher) Ignore(portID uint32) (heed func()) {
	w.request(func(l *listener) { l.ignored[portID]++ })
	return sync.OnceFunc(func() {
		w.request(func(l *listener) {
			if l.ignored[portID]--; l.ignored[portID] <= 0 {
				delete(l.ignored, portID)
			}
		})
	})
}

// Pause stops listening, since a listener makes bulk loads several times slower, for everybody. Commits
// made before Pause was called are still reported. Resume must follow.
func (w *Watcher) Pause() error {
	var err error
	if !w.request(func(l *listener) { err = l.pause() }) {
		return ErrClosed
	}
	return err
}

// Resume listens again. Of the commits between Pause and Resume none is reported: if the generation is no longer the one that
// the consumer's own last commit made (0: whatever it is), somebody wrote meanwhile, and an event with Lost says so. A Watcher that can't listen
// again ends, and Next returns why.
func (w *Watcher) Resume(generation uint32) error {
	var err error
	if !w.request(func(l *listener) { err = l.resume(generation) }) {
		return ErrClosed
	}
	return err
}

// Close ends the watch. Events that wait can still be read.
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

// request has the listener's thread execute f and waits until it has; false if it has ended.
func (w *Watcher) request(f func(*listener)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	// One is the smallest count there is; its byte order is the machine's, and any value but 0 will do.
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
