package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// UDPServer is a UDP listener of a node, for both families. It sends every datagram back, prefixed
// by the node's name and a colon, from the address it was sent to.
type UDPServer struct {
	Node *Node
	Port uint16

	conn *net.UDPConn
	done chan struct{}

	mu       sync.Mutex
	received []Datagram
	total    int
}

// Datagram is a datagram that a UDPServer received.
type Datagram struct {
	From    netip.AddrPort
	To      netip.Addr // the destination, which may be a group or a broadcast address
	Payload []byte
}

// maxDatagrams bounds the datagrams that a server keeps. It counts the rest.
const maxDatagrams = 1024

// ListenUDP serves an echo on a port of every address.
func (n *Node) ListenUDP(port uint16) *UDPServer {
	n.t.Helper()
	c, err := n.ListenPacket("udp", hostPort(port))
	if err != nil {
		n.t.Fatalf("%s: listening on udp %d: %v", n.Name, port, err)
		return nil
	}
	u := c.(*net.UDPConn)
	s := &UDPServer{
		Node: n,
		Port: u.LocalAddr().(*net.UDPAddr).AddrPort().Port(),
		conn: u,
		done: make(chan struct{}),
	}
	// The answer must come from the address that the datagram was sent to. One option serves both
	// families: on this socket the kernel uses IPv4-mapped addresses for IPv4.
	err = s.control(func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1),
			setBuffer(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, 4<<20),
		)
	})
	if err != nil {
		n.t.Fatalf("%s: preparing udp %d: %v", n.Name, port, err)
		return nil
	}
	n.onClose(s.Close)
	go s.echo()
	return s
}

func (s *UDPServer) echo() {
	defer close(s.done)
	buf, oob := make([]byte, 64<<10), make([]byte, 256)
	banner := []byte(s.Node.Name + ":")
	for {
		size, oobSize, _, from, err := s.conn.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for an earlier answer
		}
		to := destination(oob[:oobSize])
		s.mu.Lock()
		s.total++
		if len(s.received) < maxDatagrams {
			d := Datagram{
				From:    netip.AddrPortFrom(from.Addr().Unmap(), from.Port()),
				To:      to,
				Payload: bytes.Clone(buf[:size]),
			}
			s.received = append(s.received, d)
		}
		s.mu.Unlock()
		if from.Port() == s.Port && from.Addr().Unmap() == to {
			continue // it would answer itself forever
		}
		_, _, _ = s.conn.WriteMsgUDPAddrPort(append(banner, buf[:size]...), replyFrom(to), from)
	}
}

// destination returns the address that a datagram was sent to.
func destination(oob []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO &&
			len(m.Data) >= 16 {
			a, _ := netip.AddrFromSlice(m.Data[:16])
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// replyFrom sets the source address of an answer. The kernel chooses it for groups and broadcasts.
func replyFrom(a netip.Addr) []byte {
	if !a.IsValid() || a.IsMulticast() || a.IsLinkLocalUnicast() || isBroadcast(a) {
		return nil
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16()})
}

// isBroadcast relies on the world's prefixes, which end on a byte.
func isBroadcast(a netip.Addr) bool { return a.Is4() && a.As4()[3] == 255 }

// Received returns the first maxDatagrams datagrams.
func (s *UDPServer) Received() []Datagram {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Datagram(nil), s.received...)
}

// Count returns how many datagrams arrived.
func (s *UDPServer) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Got waits for a datagram with a payload, and reports whether it arrived in time.
func (s *UDPServer) Got(payload string, opts ...Option) bool {
	return waitUntil(options(opts).timeout, func() bool {
		for _, d := range s.Received() {
			if string(d.Payload) == payload {
				return true
			}
		}
		return false
	})
}

// Join makes the server a member of a multicast group on an interface.
func (s *UDPServer) Join(group netip.Addr, iface string) {
	s.Node.t.Helper()
	link := s.Node.Link(iface)
	err := s.control(func(fd int) error {
		if group.Is4() {
			return unix.SetsockoptIPMreqn(
				fd,
				unix.SOL_IP,
				unix.IP_ADD_MEMBERSHIP,
				&unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(link.Index)},
			)
		}
		return unix.SetsockoptIPv6Mreq(
			fd,
			unix.SOL_IPV6,
			unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(link.Index)},
		)
	})
	if err != nil {
		s.Node.t.Fatalf("%s: joining %v on %s: %v", s.Node.Name, group, iface, err)
	}
}

// Close closes the listener. The end of the world does so too.
func (s *UDPServer) Close() {
	_ = s.conn.Close()
	<-s.done
}

func (s *UDPServer) control(f func(fd int) error) error {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	fail := raw.Control(func(fd uintptr) { err = f(int(fd)) })
	if fail != nil {
		return fail
	}
	return err
}

// Send sends one datagram from the node through an interface, and waits for nothing. The address
// may be a group or a broadcast address.
func (n *Node) Send(iface string, to netip.AddrPort, payload string, opts ...Option) {
	n.t.Helper()
	n.SendHops(iface, to, payload, 1, opts...)
}

// SendHops is Send to a group, with a limit on the number of hops.
func (n *Node) SendHops(iface string, to netip.AddrPort, payload string, hops int, opts ...Option) {
	n.t.Helper()
	link := n.Link(iface)
	o := options(opts)
	err := n.Do(func() error {
		fd, err := clientSocket(UDP, to.Addr().Is6())
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if to.Addr().Is4() {
			err = errors.Join(
				unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptIPMreqn(
					fd,
					unix.SOL_IP,
					unix.IP_MULTICAST_IF,
					&unix.IPMreqn{Ifindex: int32(link.Index)},
				),
				unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MULTICAST_TTL, hops),
			)
		} else {
			err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MULTICAST_IF,
				link.Index),
				unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, hops))
		}
		if err != nil {
			return err
		}
		if local := o.local(to.Addr()); local.IsValid() {
			if err := unix.Bind(fd, sockaddr(local)); err != nil {
				return fmt.Errorf("binding to %v: %w", local, err)
			}
		}
		target := sockaddr(to)
		if six, ok := target.(*unix.SockaddrInet6); ok &&
			(to.Addr().IsLinkLocalUnicast() || to.Addr().IsMulticast()) {
			six.ZoneId = uint32(link.Index)
		}
		return unix.Sendto(fd, []byte(payload), 0, target)
	})
	if err != nil {
		n.t.Errorf("sending from %s to %v: %v", n.Name, to, err)
	}
}

// Greeting connects over TCP and returns the name of the node that answers.
func (n *Node) Greeting(to netip.AddrPort, opts ...Option) (string, error) {
	ctx, cancel := context.WithTimeout(n.ctx, options(opts).timeout)
	defer cancel()
	c, err := n.Dial(ctx, "tcp", to.String(), opts...)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(options(opts).timeout))
	buf := make([]byte, 64)
	size, err := c.Read(buf)
	return string(bytes.TrimSpace(buf[:size])), err
}

// setBuffer sets the size of a socket buffer, beyond the system's limit where that is allowed.
func setBuffer(fd, option, force, size int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size) // for a user namespace
}
