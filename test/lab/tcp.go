package lab

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
)

// Server is a TCP listener of a node, on both families. Every connection is greeted with the
// node's name on a line; what follows depends on who made it.
type Server struct {
	Node *Node
	Port uint16

	listener net.Listener

	mu     sync.Mutex
	closed bool
	total  int
	conns  map[netip.AddrPort]*served
}

// served is the server's end of a connection.
type served struct {
	conn net.Conn
	done chan struct{} // closed when the connection ended
	err  error         // why; valid once done is closed. io.EOF: the client closed it
}

// ListenTCP serves an echo on a port of every address: what arrives is sent back.
func (n *Node) ListenTCP(port uint16) *Server {
	n.t.Helper()
	return n.serve(hostPort(port), func(c net.Conn) error {
		_, err := io.Copy(c, c)
		if err == nil {
			err = io.EOF
		}
		return err
	})
}

// ListenTCPAt is ListenTCP on one address only.
func (n *Node) ListenTCPAt(at netip.AddrPort) *Server {
	n.t.Helper()
	return n.serve(at.String(), func(c net.Conn) error {
		_, err := io.Copy(c, c)
		if err == nil {
			err = io.EOF
		}
		return err
	})
}

// ListenPusher serves on a port of every address, and sends without ever being asked and without
// end, as fast as the client takes it.
func (n *Node) ListenPusher(port uint16) *Server {
	n.t.Helper()
	return n.serve(hostPort(port), func(c net.Conn) error {
		block := make([]byte, 1024)
		for {
			if _, err := c.Write(block); err != nil {
				return err
			}
		}
	})
}

func (n *Node) serve(address string, talk func(net.Conn) error) *Server {
	n.t.Helper()
	l, err := n.Listen("tcp", address)
	if err != nil {
		n.t.Fatalf("%s: listening on tcp %s: %v", n.Name, address, err)
		return nil
	}
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	s := &Server{Node: n, Port: port, listener: l, conns: map[netip.AddrPort]*served{}}
	n.onClose(s.Close)
	go s.accept(talk)
	return s
}

func (s *Server) accept(talk func(net.Conn) error) {
	for {
		c, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // one connection failed while it was accepted; the next may be fine
		}
		peer := remote(c)
		one := &served{conn: c, done: make(chan struct{})}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.total++
		if before := s.conns[peer]; before != nil {
			_ = before.conn.Close() // the client has forgotten it, or it would not use its port again
		}
		s.conns[peer] = one
		s.mu.Unlock()
		go func() {
			_, err := io.WriteString(c, s.Node.Name+"\n")
			if err == nil {
				err = talk(c)
			}
			one.err = err
			_ = c.Close()
			close(one.done)
		}()
	}
}

// Accepted counts the connections that were accepted so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Close ends the listener and its connections. The end of the world does it too.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = map[netip.AddrPort]*served{}
	s.mu.Unlock()
	_ = s.listener.Close()
	for _, c := range conns {
		_ = c.conn.Close()
		<-c.done
	}
}

// find returns the server's end of the connection from a client's address.
func (s *Server) find(client netip.AddrPort) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[client]
}

// remote is the peer of a connection, with an IPv4 address as such.
func remote(c net.Conn) netip.AddrPort { return plainAddr(c.RemoteAddr()) }

func plainAddr(a net.Addr) netip.AddrPort {
	t, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
