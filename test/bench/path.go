package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/portgrave/portgrave/test/lab"
	"golang.org/x/sys/unix"
)

// path is the way from the office to a receiver in a world.
type path struct {
	world    *lab.World
	office   *lab.Node
	to       netip.AddrPort
	source   netip.Addr // of connects
	out      int        // packet socket in the office
	in       int        // UDP socket of the receiver
	listener int        // TCP socket of the receiver
	burst    *burst
}

// newPath opens sockets at both ends. The receiver listens on the port, for UDP and TCP.
func newPath(
	w *lab.World,
	receiver *lab.Node,
	to netip.AddrPort,
	lateSources []netip.Addr,
) (*path, error) {
	p := &path{
		world:    w,
		office:   w.Office,
		to:       to,
		source:   w.Office.Addr4(),
		out:      -1,
		in:       -1,
		listener: -1,
	}
	link := w.Office.Link("eth0")
	c := cable{link.Index, link.MAC, w.Host.Link("eth1").MAC}
	p.burst = newBurst(c, lateSources, to)
	err := w.Office.Do(func() (err error) {
		p.out, err = packetSocket(c.index)
		return err
	})
	if err == nil {
		err = receiver.Do(func() (err error) {
			if p.in, err = bound(unix.SOCK_DGRAM, to.Port()); err != nil {
				return err
			}
			if p.listener, err = bound(unix.SOCK_STREAM, to.Port()); err != nil {
				return err
			}
			return os.NewSyscallError("listen", unix.Listen(p.listener, 128))
		})
	}
	if err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// bound is a socket on a port of every IPv4 address.
func bound(kind int, port uint16) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.Bind(fd, &unix.SockaddrInet4{Port: int(port)}),
	)
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("listening on port %d: %w", port, err)
	}
	return fd, nil
}

// Close closes the sockets.
func (p *path) Close() {
	for _, fd := range []int{p.out, p.in, p.listener} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// packetTimeout is how long a packet may be on its way. Most need none: they have arrived when the
// call that sends them returns.
const packetTimeout = 20 * time.Second

// errLost: packets that should have arrived did not.
var errLost = errors.New("packets were lost")

// udp sends bursts and reads each, and returns how many packets a second that were in the
// median burst.
func (p *path) udp(bursts int) (float64, error) {
	took := make(Series, bursts)
	buf := make([]byte, 128)
	for i := range took {
		start := time.Now()
		if err := p.burst.send(p.out); err != nil {
			return 0, err
		}
		for got := 0; got < len(p.burst.frames); {
			if n, _ := unix.Read(p.in, buf); n > 0 {
				got++
			} else if time.Since(start) > packetTimeout {
				return 0, fmt.Errorf("%w: %d of %d arrived", errLost, got, len(p.burst.frames))
			}
		}
		took[i] = time.Since(start).Seconds()
	}
	return float64(len(p.burst.frames)) / took.Median(), nil
}

// answer answers each source once, so that the host takes the packets for running connections, as
// it would with a server that answers.
func (p *path) answer() error {
	buf := make([]byte, 128)
	if err := p.burst.send(p.out); err != nil {
		return err
	}
	for start, got := time.Now(), 0; got < len(p.burst.frames); {
		n, from, err := unix.Recvfrom(p.in, buf, 0)
		switch {
		case err == nil:
			got++
			// The answer gets lost: the lab's internet holds the address, and no
			// socket.
			if err := unix.Sendto(p.in, buf[:n], 0, from); err != nil {
				return os.NewSyscallError("sendto", err)
			}
		case time.Since(start) > packetTimeout:
			return fmt.Errorf("%w: %d of %d arrived", errLost, got, len(p.burst.frames))
		}
	}
	return nil
}

// tcp connects, accepts and resets, and returns how many connects a second that were in the
// median one. It runs in the office.
func (p *path) tcp(connects int) (float64, error) {
	to := &unix.SockaddrInet4{Port: int(p.to.Port()), Addr: p.to.Addr().As4()}
	reset := &unix.Linger{Onoff: 1} // leaves no TIME_WAIT behind
	took := make(Series, connects)
	for i := range took {
		start := time.Now()
		c, err := unix.Socket(
			unix.AF_INET,
			unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC,
			0,
		)
		if err != nil {
			return 0, os.NewSyscallError("socket", err)
		}
		err = unix.SetsockoptLinger(c, unix.SOL_SOCKET, unix.SO_LINGER, reset)
		if err == nil {
			err = unix.Connect(c, to)
		}
		if err != nil && !errors.Is(err, unix.EINPROGRESS) {
			_ = unix.Close(c)
			return 0, os.NewSyscallError("connect", err)
		}
		s, err := accept(p.listener)
		_ = unix.Close(c)
		if err != nil {
			return 0, err
		}
		_ = unix.Close(s)
		took[i] = time.Since(start).Seconds()
	}
	return 1 / took.Median(), nil
}

// accept waits for a connection whose handshake is most often over already.
func accept(listener int) (int, error) {
	for start := time.Now(); ; {
		s, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if !errors.Is(err, unix.EAGAIN) {
			return s, os.NewSyscallError("accept", err)
		}
		if time.Since(start) > packetTimeout {
			return -1, fmt.Errorf("%w: no connection came in %v", errLost, packetTimeout)
		}
	}
}
