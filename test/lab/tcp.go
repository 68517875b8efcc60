package lab

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
)

// Server is a TCP listener of a node, for both families. It greets every connection with the node's
// name on a line; what follows depends on the function that made it.
type Server struct {
	Node *Node
	Port uint16

	listener net.Listener

	mu     sync.Mutex
	closed bool
	total  int
	conns  map[netip.AddrPort]*serverConn
}

// serverConn is the server's end of a connection.
type serverConn struct {
	conn net.Conn
	done chan struct{} // closed when the connection ended
	err  error         // why it ended; valid after done is closed. io.EOF: the client closed it
}

// ListenTCP serves an echo on a port of every address: it sends back what arrives.
func (n *Node) ListenTCP(port uint16) *Server {
	n.t.Helper()
	return n.serve(hostPort(port), echoTCP)
}

// ListenTCPAt is ListenTCP on one address only.
func (n *Node) ListenTCPAt(at netip.AddrPort) *Server {
	n.t.Helper()
	return n.serve(at.String(), echoTCP)
}

func echoTCP(c net.Conn) error {
	_, err := io.Copy(c, c)
	if err == nil {
		err = io.EOF
	}
	return err
}

// ListenPusher serves on a port of every address, and sends without end, as fast as the client
// reads.
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
	s := &Server{Node: n, Port: port, listener: l, conns: map[netip.AddrPort]*serverConn{}}
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
			continue // only this connection failed
		}
		peer := peerAddr(c)
		accepted := &serverConn{conn: c, done: make(chan struct{})}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.total++
		if before := s.conns[peer]; before != nil {
			_ = before.conn.Close() // the client reuses its port, so this connection is over
		}
		s.conns[peer] = accepted
		s.mu.Unlock()
		go func() {
			_, err := io.WriteString(c, s.Node.Name+"\n")
			if err == nil {
				err = talk(c)
			}
			accepted.err = err
			_ = c.Close()
			close(accepted.done)
		}()
	}
}

// Accepted returns how many connections were accepted so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Close closes the listener and its connections. The end of the world does so too.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	conns := s.conns
	s.conns = map[netip.AddrPort]*serverConn{}
	s.mu.Unlock()
	_ = s.listener.Close()
	for _, c := range conns {
		_ = c.conn.Close()
		<-c.done
	}
}

// find returns the server's end of the connection from a client's address.
func (s *Server) find(client netip.AddrPort) *serverConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[client]
}

// peerAddr returns the peer of a connection. IPv4-mapped addresses become IPv4 addresses.
func peerAddr(c net.Conn) netip.AddrPort { return unmappedAddr(c.RemoteAddr()) }

func unmappedAddr(a net.Addr) netip.AddrPort {
	t, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
