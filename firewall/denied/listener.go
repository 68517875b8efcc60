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

// Listener receives the reports of one network namespace. Its methods may be called concurrently.
type Listener struct {
	conn              *netlink.Conn
	labels            labels
	interfaces        interfaces
	aggregator        *aggregator
	outlet            *outlet
	started           atomic.Bool
	received, foreign atomic.Uint64

	packet       packet // reused for each report, to save allocations
	nextSequence uint32 // the sequence number expected in the kernel's next report
}

// Stats counts packets since Open.
type Stats struct {
	// Received is the number of reports that the kernel delivered. Each is in an event, in Lost, or
	// Foreign.
	Received uint64
	// Foreign is the number of reports from other programs' rules that log to our group. They have
	// no event.
	Foreign uint64
	// Lost is the number of packets without an event, because the kernel could not deliver their
	// reports or a writer did not take their events. Lost reports are noticed with the next report.
	Lost uint64
}

// Open listens in the network namespace of the calling thread, whatever thread later calls Run.
// Until Run is called, reports wait in a bounded buffer. It fails with firewall.ErrPermission
// without CAP_NET_ADMIN, and with ErrTaken if another program listens to the group.
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
	l := &Listener{
		conn:       conn,
		interfaces: interfaces{lookUp: lookUp},
		outlet:     newOutlet(sizes.events(), sizes.window),
	}
	l.aggregator = newAggregator(sizes, l.outlet.put)
	return l, nil
}

// SetServices passes the names of the policy's services. The iptables backend cuts names over 45
// bytes to fit its log prefix; with SetServices, events have the full names.
func (l *Listener) SetServices(names []string) { l.labels.fullNames.Store(fullNames(names)) }

// Stats returns the counts of packets since Open.
func (l *Listener) Stats() Stats {
	return Stats{Received: l.received.Load(), Foreign: l.foreign.Load(), Lost: l.outlet.lost.Load()}
}

// Close ends listening and makes Run return os.ErrClosed.
func (l *Listener) Close() error { return l.conn.Close() }

// writerTimeout is how long Run waits at its end for a busy writer.
const writerTimeout = time.Second

// Run passes events to emit until the context ends, the Listener is closed, or the kernel fails. It
// returns the reason. It may be called once.
//
// One goroutine calls emit, for one event at a time. emit may block: events then wait in a bounded
// queue; if that is full they are lost and counted. If emit returns an error, the event's packets
// count as lost too.
//
// At the end, Run emits what the current window holds. If emit blocks for more than a second, the
// rest is lost, and only that last call may return after Run does.
func (l *Listener) Run(ctx context.Context, emit func(Event) error) error {
	if l.started.Swap(true) {
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
	timeout := time.NewTimer(writerTimeout)
	defer timeout.Stop()
	select {
	case <-written:
	case <-timeout.C:
		l.outlet.abandon()
	}
	return err
}

// read feeds the aggregator. It wakes for reports and at the end of a window. While nothing is
// reported there is no window.
func (l *Listener) read(ctx context.Context) error {
	// A deadline in the past interrupts receive. Code that sets another deadline must check the
	// context afterwards.
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var deadline time.Time
	for {
		if end, _ := l.aggregator.nextWindowEnd(); !end.Equal(deadline) {
			deadline = end
			l.interfaces.forget()
			// if the file is closed, receive fails as well
			_ = l.conn.SetReadDeadline(deadline)
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

// take reads a datagram of reports. An unreadable report leaves a gap in the sequence numbers,
// which the next report reveals.
func (l *Listener) take(now time.Time, datagram []byte) {
	var received, foreign uint64
	_ = netlink.Notifications(datagram, unix.NFNL_SUBSYS_ULOG, func(m netlink.Message) error {
		r, err := decodeReport(m.Attributes)
		if err != nil || uint8(m.Kind) != messagePacket {
			return nil
		}
		// Sequence numbers start at 0 (__build_packet_message, net/netfilter/nfnetlink_log.c).
		if gap := r.seq - l.nextSequence; r.hasSeq && gap != 0 {
			l.outlet.addLoss(uint64(gap))
		}
		l.nextSequence = r.seq + 1
		received++
		known := l.labels.find(r.prefix)
		if known.action == "" {
			foreign++
			return nil
		}
		p := &l.packet
		*p = packet{
			time:    r.time,
			action:  known.action,
			service: known.service,
			iface:   l.interfaces.name(r.indev),
		}
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
