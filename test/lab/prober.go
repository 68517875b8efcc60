package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Every round of probes has its own source port from this range, as ordinary clients have. So an
// answer can't be taken for one to another round, and every probe is a new connection to conntrack.
const (
	firstPort = 32768
	portCount = 32767
)

var round atomic.Uint32

func nextPort() uint16 { return uint16(firstPort + round.Add(1)%portCount) }

// receiveBufferBytes holds some 80 000 small frames, at about 800 bytes of kernel memory each.
const receiveBufferBytes = 64 << 20

// record is the state of one probe. The sender and the receiver write it.
type record struct {
	question atomic.Uint32 // index
	port     atomic.Uint32
	sent     atomic.Int64 // nanoseconds since the prober's start
	answer   atomic.Uint32
}

const (
	pageSize = 1 << 12 // records
	maxPages = 1 << 13 // 33 million probes
)

// prober sends spoofed probes out of a link in one goroutine, and collects the answers in another.
// It matches answers by tag, address and port, and ignores all other packets.
type prober struct {
	templates []*template // one for each port
	questions []question
	rate      int
	start     time.Time

	tx, rx int
	base   uint32 // tag of the first probe
	count  atomic.Uint32
	pages  [maxPages]atomic.Pointer[[pageSize]record]

	answered atomic.Int64
	last     atomic.Int64 // when the last answer came, in nanoseconds since start
	lost     uint64       // frames that overflowed the receive buffer; valid after done
	stop     atomic.Bool
	done     sync.WaitGroup
}

// question is a Question and its frame.
type question struct {
	source   netip.Addr
	template *template
}

// newProber opens the sockets and starts to receive.
func (n *Node) newProber(questions []Question, o settings) (*prober, error) {
	p := &prober{rate: o.rate, base: rand.Uint32(), tx: -1, rx: -1}
	link, err := p.prepare(n, questions, o)
	if err != nil {
		return nil, err
	}
	err = n.Do(func() error {
		// A socket of protocol 0 only sends. The other socket receives both families.
		if p.tx, err = packetSocket(link.Index, 0); err != nil {
			return err
		}
		p.rx, err = packetSocket(link.Index, unix.ETH_P_ALL)
		return err
	})
	if err != nil {
		p.close()
		return nil, err
	}
	p.start = time.Now()
	p.done.Add(1)
	go p.receive()
	return p, nil
}

// prepare makes the frames, and returns the link that they all leave by.
func (p *prober) prepare(n *Node, questions []Question, o settings) (*Link, error) {
	var link *Link
	templates := map[Question]*template{} // by question, without source
	for _, q := range questions {
		if q.Source.Is4() != q.To.Addr().Is4() {
			return nil, fmt.Errorf(
				"the source %v and the target %v are of different families",
				q.Source,
				q.To,
			)
		}
		port := Question{To: q.To, Over: q.protocol()}
		if templates[port] == nil {
			if port.Over == SCTP {
				return nil, errors.New("spoofed probes don't speak SCTP")
			}
			l, err := n.linkTo(q.To.Addr())
			if err != nil {
				return nil, err
			}
			if link != nil && l != link {
				return nil,
					fmt.Errorf("%v is reached by %s, other targets by %s", q.To, l.Name, link.Name)
			}
			link = l
			templates[port] = newTemplate(link, port.Over, q.To)
			templates[port].setHops(o.hops)
			templates[port].extend(o.extensions)
			p.templates = append(p.templates, templates[port])
		}
		p.questions = append(p.questions, question{q.Source, templates[port]})
	}
	if link == nil {
		return nil, errors.New("there is nothing to ask")
	}
	return link, nil
}

// linkTo returns the link by which the node reaches an address.
func (n *Node) linkTo(to netip.Addr) (*Link, error) {
	routes, err := n.routes.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return nil, fmt.Errorf("%s has no route to %v: %w", n.Name, to, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		if l.Index == routes[0].LinkIndex && l.gateway != nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%s reaches %v by no cable", n.Name, to)
}

func packetSocket(index int, kind uint16) (int, error) {
	network := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, kind))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket AF_PACKET", err)
	}
	err = errors.Join(
		setBuffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, receiveBufferBytes),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
	)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network, Ifindex: index})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("preparing a packet socket: %w", err)
	}
	return fd, nil
}

// send sends one probe and records it. It returns false if there is no room for more records.
func (p *prober) send(asked int, port uint16) (bool, error) {
	n := p.count.Load()
	if n/pageSize >= maxPages {
		return false, nil
	}
	page := p.pages[n/pageSize].Load()
	if page == nil {
		page = new([pageSize]record)
		p.pages[n/pageSize].Store(page)
	}
	r := &page[n%pageSize]
	r.question.Store(uint32(asked))
	r.port.Store(uint32(port))
	r.sent.Store(int64(time.Since(p.start)))
	p.count.Store(n + 1)
	q := p.questions[asked]
	q.template.fill(q.source, port, p.base+n)
	ok, err := p.write(q.template.frame)
	if ok && q.template.rest != nil {
		ok, err = p.write(q.template.rest)
	}
	return ok, err
}

// write sends a frame. It returns false if the prober ends meanwhile.
func (p *prober) write(frame []byte) (bool, error) {
	for {
		_, err := unix.Write(p.tx, frame)
		switch err {
		case nil:
			return true, nil
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS: // the queue is full
			time.Sleep(time.Millisecond)
		default:
			return false, fmt.Errorf("sending a probe: %w", err)
		}
		if p.stop.Load() {
			return false, nil
		}
	}
}

// record returns the record of the n-th probe.
func (p *prober) record(n uint32) *record { return &p.pages[n/pageSize].Load()[n%pageSize] }

// receive collects answers until stop is set.
func (p *prober) receive() {
	defer p.done.Done()
	buf := make([]byte, 2048)
	for {
		n, err := unix.Read(p.rx, buf)
		if err == nil {
			p.take(buf[:n])
			continue
		}
		if err == unix.EINTR {
			continue
		}
		if p.stop.Load() {
			break
		}
		fds := []unix.PollFd{{Fd: int32(p.rx), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, 20)
	}
	if s, err := unix.GetsockoptTpacketStats(p.rx, unix.SOL_PACKET,
		unix.PACKET_STATISTICS); err == nil {
		p.lost = uint64(s.Drops)
	}
}

// take records the answer in a frame. Only the first answer to a probe counts.
func (p *prober) take(frame []byte) {
	packet, ok := parse(frame)
	if !ok {
		return
	}
	for _, t := range p.templates {
		if a, ok := t.answer(packet); ok {
			p.mark(t, a)
			return
		}
	}
}

func (p *prober) mark(t *template, a reply) {
	n := a.tag - p.base
	if n >= p.count.Load() {
		return
	}
	r := p.record(n)
	if uint16(r.port.Load()) != a.port ||
		p.questions[r.question.Load()] != (question{a.source, t}) {
		return
	}
	if r.answer.CompareAndSwap(uint32(Dropped), uint32(a.answer)) {
		p.answered.Add(1)
		p.last.Store(int64(time.Since(p.start)))
	}
}

// finish ends the receiver and closes the sockets.
func (p *prober) finish() {
	p.stop.Store(true)
	p.done.Wait()
	p.close()
}

func (p *prober) close() {
	for _, fd := range []int{p.tx, p.rx} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	p.tx, p.rx = -1, -1
}

// pace spaces packets evenly. After a delay it does not catch up, because a burst could overflow a
// queue and look like a missing answer.
type pace struct {
	gap  time.Duration
	next time.Time
}

func newPace(rate int) *pace {
	return &pace{gap: time.Second / time.Duration(max(rate, 1)), next: time.Now()}
}

func (p *pace) wait() {
	now := time.Now()
	if late := now.Sub(p.next); late > 2*time.Millisecond {
		p.next = now
	} else if late < -200*time.Microsecond {
		time.Sleep(-late)
	}
	p.next = p.next.Add(p.gap)
}
