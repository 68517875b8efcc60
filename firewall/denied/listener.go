package denied

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Listener receives the reports of one network namespace. All methods may be called from any goroutine.
type Listener struct {
	conn              *netlink.Conn
	labels            labels
	interfaces        interfaces
	aggregator        *aggregator
	outlet            *outlet
	began             atomic.Bool
	received, foreign atomic.Uint64

	packet packet // the one in hand
	next   uint32 // the sequence number that the kernel's next report should have
}

// Stats counts packets since Open.
type Stats struct {
	// Received are the reports that the kernel delivered. Each, unless it is foreign, ends in an event or in Lost.
	Received uint64
	// Foreign are those of rules that are none of ours, and log to our group. No event tells of them.
	Foreign uint64
	// Lost packets have no event: the kernel could not deliver their reports, or a writer did not take their events. The former
	// are noticed when the next report arrives.
	Lost uint64
}

// Open begins to listen in the network namespace of the calling thread, and stays there, whatever thread calls Run.
// Until Run is called, reports wait in a bounded buffer. It needs CAP_NET_ADMIN, and to be the only one: else it
// fails with firewall.ErrPermission or ErrTaken.
func Open() (*Listener, error) { return open(defaultLimits) }

func open(sizes limits) (*Listener, error) {
	conn, err := openGroup()
	if err != nil {
		return nil, err
	}
	lookUp := func(index uint32) (name string, err error) {
		err = conn.Control(func(fd int) error { name, err = interfaceName(fd, index); return err })
		return name, err
	}
	l := &Listener{conn: conn, interfaces: interfaces{lookUp: lookUp}, outlet: newOutlet(sizes.events(), sizes.window)}
	l.aggregator = newAggregator(sizes, l.outlet.put)
	return l, nil
}

// SetServices tells the names of the policy's services. Only the iptables backend needs it, for names that do
// not fit its log prefix (over 45 bytes) and are cut there: events then have the whole ones.
func (l *Listener) SetServices(names []string) { l.labels.names.Store(wholeNames(names)) }

// Stats counts packets since Open.
func (l *Listener) Stats() Stats {
	return Stats{Received: l.received.Load(), Foreign: l.foreign.Load(), Lost: l.outlet.lost.Load()}
}

// Close ends listening, and Run, which then returns os.ErrClosed.
func (l *Listener) Close() error { return l.conn.Close() }

// grace is how long Run waits at its end for a writer that is busy.
const grace = time.Second

// Run hands events to emit until the context ends, the Listener is closed, or the kernel fails, and returns why. It
// may be called once.
//
// emit is called by one goroutine, never twice at a time. It may block for as long as it likes: events then wait in
// a bounded queue, and are lost, and counted, when it is full. An error of emit means that the event was not taken; its
// packets are counted as lost too.
//
// At the end, what the current window holds is emitted, unless emit blocks for more than a second: then the rest is lost, and
// only that last call may return later than Run.
func (l *Listener) Run(ctx context.Context, emit func(Event) error) error {
	if l.began.Swap(true) {
		return errors.New("denied: Run was called before")
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		l.outlet.run(emit)
	}()
	err := l.read(ctx)
	l.aggregator.flush()
	close(l.outlet.queue)
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-written:
	case <-patience.C:
		l.outlet.giveUp()
	}
	return err
}

// read feeds the aggregator. It wakes up for reports and for the ends of windows, and there is no window while
// nothing is reported.
func (l *Listener) read(ctx context.Context) error {
	// A deadline in the past interrupts the reading. It is set after the context has ended, so whoever sets another
	// one looks at the context afterwards.
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var deadline time.Time
	for {
		if end, _ := l.aggregator.next(); !end.Equal(deadline) {
			deadline = end
			l.interfaces.forget()
			_ = l.conn.SetReadDeadline(deadline) // it fails if the file is closed, and then so does receive
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		datagram, err := l.conn.Receive(true)
		now := time.Now()
		switch {
		case err == nil:
			l.take(now, datagram)
		case errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, netlink.ErrMalformed): // a gap in the sequence, as below
		default:
			return err
		}
		l.aggregator.advance(now)
	}
}

// take reads a datagram of reports. What can't be read leaves a gap in the sequence, which the next report reveals.
func (l *Listener) take(now time.Time, datagram []byte) {
	var received, foreign uint64
	_ = netlink.Notifications(datagram, unix.NFNL_SUBSYS_ULOG, func(m netlink.Message) error {
		r, err := decodeReport(m.Attributes)
		if err != nil || uint8(m.Kind) != messagePacket {
			return nil
		}
		// The kernel numbers reports from 0 on (__build_packet_message, net/netfilter/nfnetlink_log.c).
		if gap := r.seq - l.next; r.hasSeq && gap != 0 {
			l.outlet.lose(uint64(gap))
		}
		l.next = r.seq + 1
		received++
		known := l.labels.of(r.prefix)
		if known.action == "" {
			foreign++
			return nil
		}
		p := &l.packet
		*p = packet{time: r.time, action: known.action, service: known.service, iface: l.interfaces.name(r.indev)}
		if p.time.IsZero() {
			p.time = now.UTC()
		}
		p.headers, p.hasHeader = decodeHeaders(r.payload)
		l.aggregator.add(now, p)
		return nil
	})
	l.received.Add(received)
	l.foreign.Add(foreign)
}
