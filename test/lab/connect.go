package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Connect tries one connection from the node, as a client would. Over UDP it sends a datagram to a
// server of ListenUDP, which echoes it. Over SCTP it sends an INIT to a port of ListenSCTP.
func (n *Node) Connect(to netip.AddrPort, opts ...Option) Answer {
	n.t.Helper()
	o := options(opts)
	var answer Answer
	err := n.Do(func() error {
		var err error
		if o.protocol == SCTP {
			answer, err = connectSCTP(to, o)
		} else {
			answer, err = connect(to, o)
		}
		return err
	})
	if err != nil {
		n.t.Errorf("connecting from %s (%v) to %v: %v", n.Name, o.source, to, err)
		return Failed
	}
	return answer
}

// connect uses socket calls, because only the error queue distinguishes an administrative refusal
// from a missing route.
func connect(to netip.AddrPort, o settings) (Answer, error) {
	six := to.Addr().Is6()
	fd, err := clientSocket(o.protocol, six)
	if err != nil {
		return Failed, err
	}
	defer unix.Close(fd)
	if err := setDevice(fd, o.device); err != nil {
		return Failed, err
	}
	if local := o.local(to.Addr()); local.IsValid() {
		if err := unix.Bind(fd, sockaddr(local)); err != nil {
			return Failed, fmt.Errorf("binding to %v: %w", local, err)
		}
	}
	err = unix.Connect(fd, sockaddr(to))
	var errno unix.Errno
	if errors.As(err, &errno) && errno != unix.EINPROGRESS {
		return answerOf(fd, six, errno)
	}
	if o.protocol == UDP {
		return exchangeUDP(fd, six, o.timeout)
	}
	ready, err := waitReady(fd, unix.POLLOUT, o.timeout)
	if err != nil || !ready {
		return Dropped, err
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return Failed, err
	}
	if code == 0 {
		// Reset the connection, so that no TIME_WAIT keeps the source port from being used again.
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	return answerOf(fd, six, unix.Errno(code))
}

// clientSocket opens a non-blocking socket whose ICMP errors can be read.
func clientSocket(p Protocol, six bool) (int, error) {
	domain, level, recverr, kind := unix.AF_INET, unix.SOL_IP, unix.IP_RECVERR, unix.SOCK_STREAM
	if six {
		domain, level, recverr = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	if p == UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(p))
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, level, recverr, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		setFreebind(fd, six),
	)
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// setDevice binds a socket to an interface, unless name is "".
func setDevice(fd int, name string) error {
	if name == "" {
		return nil
	}
	return os.NewSyscallError("setsockopt SO_BINDTODEVICE", unix.BindToDevice(fd, name))
}

// exchangeUDP sends a datagram and waits for its echo. It repeats the datagram, because a busy
// machine may lose one.
func exchangeUDP(fd int, six bool, timeout time.Duration) (Answer, error) {
	const tries = 3
	payload := []byte("are you there?")
	buf := make([]byte, 2048)
	for range tries {
		var errno unix.Errno
		if _, err := unix.Write(fd, payload); errors.As(err, &errno) {
			return answerOf(fd, six, errno)
		}
		ready, err := waitReady(fd, unix.POLLIN, timeout/tries)
		if err != nil {
			return Failed, err
		}
		if !ready {
			continue
		}
		size, err := unix.Read(fd, buf)
		if errors.As(err, &errno) {
			return answerOf(fd, six, errno)
		}
		if bytes.HasSuffix(buf[:size], payload) {
			return Open, nil
		}
		return Failed, fmt.Errorf("the answer %q does not end with what was sent", buf[:size])
	}
	return Dropped, nil
}

// answerOf turns a socket's error into an answer, with the help of the ICMP message behind it.
func answerOf(fd int, six bool, errno unix.Errno) (Answer, error) {
	if _, kind, code, ok := icmpError(fd); ok {
		if answer, ok := icmpAnswer(six, kind, code); ok {
			return answer, nil
		}
	}
	answer, ok := errnoAnswer(errno)
	if !ok {
		return Failed, fmt.Errorf("the socket's error is %w", errno)
	}
	return answer, nil
}

// icmpError reads an ICMP error from the socket's error queue, and what it quotes of the packet.
// The layout is struct sock_extended_err of linux/errqueue.h: errno (4 bytes), origin, type, code.
func icmpError(fd int) (quoted []byte, kind, code uint8, ok bool) {
	buf, oob := make([]byte, 2048), make([]byte, 512)
	for {
		length, size, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return nil, 0, 0, false
		}
		messages, err := unix.ParseSocketControlMessage(oob[:size])
		if err != nil {
			return nil, 0, 0, false
		}
		for _, m := range messages {
			if len(m.Data) < 8 || binary.NativeEndian.Uint32(m.Data) == 0 {
				continue
			}
			switch m.Data[4] {
			case unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6:
				return buf[:length], m.Data[5], m.Data[6], true
			}
		}
	}
}

// waitReady waits until the socket is ready or has an error. It polls once more after the time is
// up, because the thread may have been delayed.
func waitReady(fd int, events int16, timeout time.Duration) (bool, error) {
	end := time.Now().Add(timeout)
	for {
		left := max(time.Until(end), 0)
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, int(left/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, os.NewSyscallError("poll", err)
		}
		if n > 0 {
			return true, nil
		}
		if left == 0 {
			return false, nil
		}
	}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
