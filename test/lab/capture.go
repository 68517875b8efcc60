package lab

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Capture records every TCP packet that arrives at a node's first interface. Stream counts only
// answers to its own probes; Capture proves that nothing else came.
type Capture struct {
	fd   int
	stop atomic.Bool
	done sync.WaitGroup

	mu    sync.Mutex
	first time.Time
	seen  []Segment
	lost  int
	err   error
}

// Segment is a captured TCP packet.
type Segment struct {
	At       time.Time
	From, To netip.AddrPort
	Flags    uint8
}

// Open reports whether the packet accepts a connection: SYN and ACK.
func (s Segment) Open() bool { return s.Flags&(tcpSYN|tcpACK) == tcpSYN|tcpACK }

// Reset reports whether the packet refuses or ends a connection.
func (s Segment) Reset() bool { return s.Flags&tcpRST != 0 }

// maxSegments bounds the packets that a capture keeps. More would not help a test.
const maxSegments = 1 << 20

// Capture starts to record. It stops when the world ends.
func (n *Node) Capture() *Capture {
	n.t.Helper()
	c := &Capture{}
	link := n.Link("eth0")
	err := n.Do(func() (err error) {
		c.fd, err = packetSocket(link.Index, unix.ETH_P_ALL)
		return err
	})
	if err != nil {
		n.t.Fatalf("capturing on %s: %v", n.Name, err)
	}
	c.done.Add(1)
	go c.receive()
	n.onClose(c.end)
	return c
}

func (c *Capture) receive() {
	defer c.done.Done()
	buf := make([]byte, 65536)
	for {
		n, err := unix.Read(c.fd, buf)
		if err == nil {
			c.take(time.Now(), buf[:n])
			continue
		}
		if err == unix.EINTR {
			continue
		}
		if err != unix.EAGAIN {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			break
		}
		if c.stop.Load() { // everything was read
			break
		}
		fds := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, 20)
	}
	s, err := unix.GetsockoptTpacketStats(c.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.err = err
		return
	}
	c.lost += int(s.Drops)
}

func (c *Capture) take(at time.Time, frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first.IsZero() {
		c.first = at
	}
	p, ok := parse(frame)
	if !ok || p.protocol != TCP || len(p.payload) < 14 {
		return
	}
	if len(c.seen) == maxSegments {
		c.lost++
		return
	}
	c.seen = append(c.seen, Segment{
		At:    at,
		From:  netip.AddrPortFrom(p.from, binary.BigEndian.Uint16(p.payload)),
		To:    netip.AddrPortFrom(p.to, binary.BigEndian.Uint16(p.payload[2:])),
		Flags: p.payload[13],
	})
}

// First returns when the first frame of any kind came; zero if none has.
func (c *Capture) First() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

// Find returns the first segment so far that match accepts.
func (c *Capture) Find(match func(Segment) bool) (Segment, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.seen {
		if match(s) {
			return s, true
		}
	}
	return Segment{}, false
}

// Stop ends the capture and returns all packets. lost counts packets that were not recorded. If it
// is not 0, or there is an error, a missing packet proves nothing.
func (c *Capture) Stop() (seen []Segment, lost int, err error) {
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen, c.lost, c.err
}

func (c *Capture) end() {
	if c.stop.Swap(true) {
		return
	}
	c.done.Wait()
	_ = unix.Close(c.fd)
}
