package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SCTP (RFC 9260). The common header has 12 bytes: ports, verification tag and checksum. The first
// chunk follows.
const (
	sctpHeader = 12

	chunkInit    = 1
	chunkInitAck = 2
	chunkAbort   = 6
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sctpServer answers the first packet of an SCTP association, which is all that a firewall decides
// on. It uses raw sockets, because most kernels lack SCTP. A kernel that has SCTP answers by
// itself.
type sctpServer struct {
	mu    sync.Mutex
	ports map[uint16]bool
}

// ListenSCTP answers on a port of every address. From then on, other ports of the node answer with
// an ABORT. Without it, a kernel without SCTP answers "protocol unreachable".
func (n *Node) ListenSCTP(port uint16) {
	n.t.Helper()
	if kernelSpeaksSCTP() {
		if err := n.listenKernelSCTP(port); err != nil {
			n.t.Fatalf("%s: listening on sctp %d: %v", n.Name, port, err)
		}
		return
	}
	n.mu.Lock()
	s := n.sctp
	n.mu.Unlock()
	if s == nil {
		var err error
		if s, err = n.serveSCTP(); err != nil {
			n.t.Fatalf("%s: listening on sctp %d: %v", n.Name, port, err)
			return
		}
		n.mu.Lock()
		n.sctp = s
		n.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports[port] = true
}

// kernelSpeaksSCTP looks for SCTP without opening a socket, which would load the module.
func kernelSpeaksSCTP() bool {
	b, err := os.ReadFile("/proc/net/protocols")
	return err == nil && bytes.Contains(b, []byte("\nSCTP"))
}

func (n *Node) listenKernelSCTP(port uint16) error {
	return n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		n.onClose(func() { _ = unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrInet6{Port: int(port)}); err != nil {
			return os.NewSyscallError("bind", err)
		}
		return os.NewSyscallError("listen", unix.Listen(fd, 64))
	})
}

// serveSCTP opens a raw socket for each family and answers on both.
func (n *Node) serveSCTP() (*sctpServer, error) {
	s := &sctpServer{ports: map[uint16]bool{}}
	for _, six := range []bool{false, true} {
		network, address, level, option := "ip4:132", "0.0.0.0", unix.SOL_IP, unix.IP_PKTINFO
		if six {
			network, address, level, option = "ip6:132", "::", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO
		}
		pc, err := n.ListenPacket(network, address)
		if err != nil {
			return nil, err
		}
		c := pc.(*net.IPConn)
		raw, err := c.SyscallConn()
		if err != nil {
			return nil, err
		}
		var failed error
		err = raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), level, option, 1)
		})
		if err := errors.Join(err, failed); err != nil {
			return nil, err
		}
		go answerRaw(c, six, s.reply)
	}
	return s, nil
}

// reply returns the answer to a packet: an INIT ACK or an ABORT to an INIT, and nil to others.
func (s *sctpServer) reply(p []byte) []byte {
	if len(p) < sctpHeader+20 || p[sctpHeader] != chunkInit {
		return nil
	}
	from, to := binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	tag := binary.BigEndian.Uint32(p[sctpHeader+4:])
	s.mu.Lock()
	open := s.ports[to]
	s.mu.Unlock()
	if !open {
		return sctpPacket(to, from, tag, chunkAbort, nil)
	}
	cookie := []byte{0, 7, 0, 8, 'p', 'o', 'r', 't'}
	return sctpPacket(to, from, tag, chunkInitAck, append(initBody(rand.Uint32()|1), cookie...))
}

// replySource makes the answer come from the address that the packet was sent to.
func replySource(oob []byte, six bool) []byte {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		switch {
		case six && m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_PKTINFO &&
			len(m.Data) >= 16:
			return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte(m.Data[:16])})
		case !six && m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_PKTINFO &&
			len(m.Data) >= 12:
			// struct in_pktinfo: interface, local address, destination of the header
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(m.Data[8:12])})
		}
	}
	return nil
}

// initBody returns the body of an INIT or INIT ACK: tag, window, one stream each way, first
// sequence number.
func initBody(tag uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, tag)
	b = binary.BigEndian.AppendUint32(b, 65536)
	return append(b, 0, 1, 0, 1, 0, 0, 0, 1)
}

// sctpPacket returns a packet with one chunk.
func sctpPacket(from, to uint16, tag uint32, chunk byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint32(b, tag)
	b = append(b, 0, 0, 0, 0, chunk, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(body)))
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, castagnoli)) // RFC 9260, appendix A
	return b
}

// connectSCTP sends an INIT from the calling thread's namespace and waits for the answer.
func connectSCTP(to netip.AddrPort, o settings) (Answer, error) {
	six := to.Addr().Is6()
	domain, level, recverr := unix.AF_INET, unix.SOL_IP, unix.IP_RECVERR
	if six {
		domain, level, recverr = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	fd, err := unix.Socket(
		domain,
		unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC,
		unix.IPPROTO_SCTP,
	)
	if err != nil {
		return Failed, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.SetsockoptInt(fd, level, recverr, 1),
		setFreebind(fd, six)); err != nil {
		return Failed, err
	}
	if o.source.IsValid() {
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(o.source, 0))); err != nil {
			return Failed, fmt.Errorf("binding to %v: %w", o.source, err)
		}
	}
	if err := unix.Connect(fd, sockaddr(netip.AddrPortFrom(to.Addr(), 0))); err != nil {
		var errno unix.Errno
		errors.As(err, &errno)
		return answerOf(fd, six, errno)
	}
	port := o.sourcePort
	if port == 0 {
		port = nextPort()
	}
	tag := rand.Uint32() | 1
	if _, err := unix.Write(fd,
		sctpPacket(port, to.Port(), 0, chunkInit, initBody(tag))); err != nil {
		return Failed, os.NewSyscallError("write", err)
	}
	return awaitSCTP(fd, six, port, to.Port(), tag, o.timeout)
}

// awaitSCTP waits for the answer to one INIT. The socket also receives answers to others.
func awaitSCTP(
	fd int,
	six bool,
	port, peer uint16,
	tag uint32,
	timeout time.Duration,
) (Answer, error) {
	buf := make([]byte, 4096)
	for end := time.Now().Add(timeout); ; {
		ready, err := waitReady(fd, unix.POLLIN, time.Until(end))
		if err != nil {
			return Failed, err
		}
		if !ready {
			return Dropped, nil
		}
		for {
			quoted, kind, code, ok := icmpError(fd)
			if !ok {
				break
			}
			if len(quoted) < 4 || binary.BigEndian.Uint16(quoted) != port ||
				binary.BigEndian.Uint16(quoted[2:]) != peer {
				continue
			}
			if answer, ok := icmpAnswer(six, kind, code); ok {
				return answer, nil
			}
		}
		size, err := unix.Read(fd, buf)
		if err != nil {
			continue // it was an ICMP error, which was read above
		}
		p := buf[:size]
		if !six {
			ip, ok := parseIP(p, false)
			if !ok {
				continue
			}
			p = ip.payload
		}
		if len(p) <= sctpHeader || binary.BigEndian.Uint16(p) != peer ||
			binary.BigEndian.Uint16(p[2:]) != port ||
			binary.BigEndian.Uint32(p[4:]) != tag {
			continue
		}
		switch p[sctpHeader] {
		case chunkInitAck:
			return Open, nil
		case chunkAbort:
			return Refused, nil
		}
	}
}
