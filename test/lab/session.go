package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// Session is an established TCP connection to a Server, with access to both ends.
type Session struct {
	// Client and Server are the connection's addresses, as the client sees them.
	Client, Server netip.AddrPort
	// Banner is the name of the node that answered, which shows where a published port leads.
	Banner string

	conn      net.Conn
	in        *bufio.Reader
	serverEnd *serverConn
	pings     int
	pushed    atomic.Int64
	// readerDone is closed when the reader of a pusher's bytes has ended; nil without one
	readerDone chan struct{}
}

// Open connects from the node to a server, whose address and port may differ from to because of
// DNAT. An error ends the test, so a session also proves that the port was open.
func (n *Node) Open(server *Server, to netip.AddrPort, opts ...Option) *Session {
	n.t.Helper()
	s, err := n.open(server, to, opts...)
	if err != nil {
		n.t.Fatalf("opening a session from %s to %v: %v", n.Name, to, err)
	}
	return s
}

func (n *Node) open(server *Server, to netip.AddrPort, opts ...Option) (*Session, error) {
	ctx, cancel := context.WithTimeout(n.ctx, 5*time.Second)
	defer cancel()
	opts = append([]Option{Timeout(5 * time.Second)}, opts...)
	c, err := n.Dial(ctx, "tcp", to.String(), opts...)
	if err != nil {
		return nil, err
	}
	n.onClose(func() { _ = c.Close() })
	s := &Session{Client: unmappedAddr(c.LocalAddr()), Server: to, conn: c, in: bufio.NewReader(c)}
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	banner, err := s.in.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("connected, but no banner came: %w", err)
	}
	_ = c.SetDeadline(time.Time{})
	s.Banner = strings.TrimSpace(banner)
	if s.serverEnd = server.find(s.Client); s.serverEnd == nil {
		return nil, fmt.Errorf(
			"%s answered, but the server on %s port %d has no connection from %v",
			s.Banner, server.Node.Name, server.Port, s.Client)
	}
	return s, nil
}

// Alive makes a round trip to the echo server and reports whether it came back in time.
func (s *Session) Alive(opts ...Option) bool { return s.Ping(opts...) == nil }

// Ping is Alive, and returns why it failed.
func (s *Session) Ping(opts ...Option) error {
	s.pings++
	return s.Echo(fmt.Appendf(nil, "ping %d\n", s.pings), opts...)
}

// Echo sends a payload and waits until all of it came back. Large payloads fill whole segments,
// which a narrow path must refuse. It must not be used with a pusher.
func (s *Session) Echo(payload []byte, opts ...Option) error {
	deadline := time.Now().Add(options(opts).timeout)
	_ = s.conn.SetDeadline(deadline)
	sent := make(chan error, 1)
	go func() {
		_, err := s.conn.Write(payload)
		sent <- err
	}()
	back := make([]byte, len(payload))
	_, err := io.ReadFull(s.in, back)
	if e := <-sent; e != nil {
		return fmt.Errorf("sending: %w", e)
	}
	if err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	if !bytes.Equal(back, payload) {
		return errors.New("the echo differs from what was sent")
	}
	return nil
}

// PushedBytes returns how many bytes a pusher has sent so far. The first call starts to read.
func (s *Session) PushedBytes() int64 {
	if s.readerDone == nil {
		s.readerDone = make(chan struct{})
		go func() {
			defer close(s.readerDone)
			buf := make([]byte, 64<<10)
			for {
				n, err := s.in.Read(buf)
				s.pushed.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
	}
	return s.pushed.Load()
}

// Pushing reports whether a pusher's bytes still arrive. It waits until some do, or the time is up.
func (s *Session) Pushing(opts ...Option) bool {
	before := s.PushedBytes()
	return waitUntil(options(opts).timeout, func() bool { return s.PushedBytes() > before })
}

// ServerEnded waits until the server's end of the connection is gone, and returns why (ECONNABORTED
// for a destroyed socket). ok is false if it still existed when the time was up.
func (s *Session) ServerEnded(opts ...Option) (why error, ok bool) {
	select {
	case <-s.serverEnd.done:
		return s.serverEnd.err, true
	case <-time.After(options(opts).timeout):
		return nil, false
	}
}

// waitUntil polls a condition until it holds or the time is up.
func waitUntil(timeout time.Duration, holds func() bool) bool {
	end := time.Now().Add(timeout)
	for {
		if holds() {
			return true
		}
		if time.Now().After(end) {
			return holds()
		}
		time.Sleep(time.Millisecond)
	}
}
