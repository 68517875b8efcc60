package netlink

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// Transport carries datagrams: a socket of the kernel, or a test's (package netlinktest).
type Transport interface {
	Send(datagram []byte) error
	// Receive reads one datagram. If n is larger than the buffer, that has only its beginning. Port
	// 0 is the kernel's. Without wait it fails with EAGAIN if there is none.
	Receive(buffer []byte, wait bool) (n int, port uint32, err error)
	// SetReadDeadline ends the wait with os.ErrDeadlineExceeded.
	SetReadDeadline(time.Time) error
	// Control runs f with the socket's descriptor, which is valid during the call.
	Control(f func(fd int) error) error
	// Close ends a wait with os.ErrClosed.
	Close() error
}

// Dialer opens a Conn of one family (unix.NETLINK_…) in some network namespace. It is the one way
// to the kernel for those who get it passed, so tests put their faults there.
type Dialer func(family int) (*Conn, error)

// Dial opens a Conn in the calling thread's network namespace.
func Dial(family int) (*Conn, error) { return dial(family, unix.SOCK_NONBLOCK) }

// DialUnpolled is Dial without Go's network poller, which would wake another thread first: for who
// polls the descriptor by himself. Such a Conn never waits, so it is for requests that the kernel
// answers at once, and for groups; it has no deadlines.
func DialUnpolled(family int) (*Conn, error) { return dial(family, 0) }

func dial(family, mode int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|mode, family)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", Explain(err))
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("opening a netlink socket: %w", Explain(err))
	}
	// Errors then carry the kernel's own words and not a copy of our message, and dumps of routing
	// are filtered by the kernel (Linux 4.20). An older one goes without.
	for _, option := range []int{
		unix.NETLINK_EXT_ACK, unix.NETLINK_CAP_ACK, unix.NETLINK_GET_STRICT_CHK,
	} {
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, option, 1)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	c := New(&socket{file: file, raw: raw})
	c.family, c.unpolled = family, mode == 0
	return c, nil
}

// In returns the Dialer of another network namespace, given an open file of /proc/PID/ns/net or the
// like, which must stay open as long as the Dialer is used. Entering takes CAP_SYS_ADMIN; without
// it the Dialer fails with firewall.ErrPermission. The socket is opened on a thread of its own, so
// the caller's stays where it is.
//
// A descriptor alone is never trusted: one that was closed and used again leads somewhere else, and
// the wrong namespace answers just as well. So each socket is asked where it is before it is handed
// out.
func In(ns *os.File) Dialer {
	return func(family int) (conn *Conn, err error) {
		defer runtime.KeepAlive(ns)
		var wanted unix.Stat_t
		if err := unix.Fstat(int(ns.Fd()), &wanted); err != nil {
			return nil, fmt.Errorf("entering a network namespace: %w", err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // for good: the thread ends in the other namespace
			if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				if errors.Is(err, unix.EPERM) {
					const needs = "this needs CAP_SYS_ADMIN in the user namespace that owns it"
					err = firewall.DeniedError{Words: needs, Err: err}
				}
				return
			}
			conn, err = Dial(family)
		}()
		<-done
		if err == nil {
			err = conn.requireNamespace(wanted.Ino)
		}
		if err != nil {
			return nil, fmt.Errorf("entering network namespace %d: %w", wanted.Ino, err)
		}
		return conn, nil
	}
}

// requireNamespace closes the socket and fails unless it is in a network namespace.
func (c *Conn) requireNamespace(wanted uint64) error {
	at, err := c.namespace()
	if err == nil && at != wanted {
		err = fmt.Errorf("the socket is in %d", at)
	}
	if err != nil {
		return errors.Join(Explain(err), c.Close())
	}
	return nil
}

// namespace is the inode of the network namespace that the socket is in. It takes CAP_NET_ADMIN
// there.
func (c *Conn) namespace() (uint64, error) {
	var st unix.Stat_t
	err := c.Control(func(fd int) error {
		// The ioctl takes no argument and returns a new descriptor (net/socket.c, sock_ioctl; Linux
		// 4.9).
		ns, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGSKNS, 0)
		if errno != 0 {
			return os.NewSyscallError("SIOCGSKNS", errno)
		}
		defer func() { _ = unix.Close(int(ns)) }()
		return unix.Fstat(int(ns), &st)
	})
	return st.Ino, err
}

// socket is the kernel's Transport.
type socket struct {
	file   *os.File
	raw    syscall.RawConn
	closed atomic.Bool
}

func (s *socket) Send(datagram []byte) error {
	return s.Control(func(fd int) error {
		return unix.Sendto(fd, datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	})
}

func (s *socket) Receive(buffer []byte, wait bool) (n int, port uint32, err error) {
	var from unix.Sockaddr
	attempt := func(fd uintptr) bool {
		// With MSG_TRUNC the kernel tells the datagram's whole length.
		n, from, err = unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		return !errors.Is(err, unix.EAGAIN)
	}
	if wait {
		if rerr := s.raw.Read(attempt); rerr != nil {
			if s.closed.Load() {
				rerr = os.ErrClosed
			}
			return 0, 0, rerr
		}
	} else if cerr := s.raw.Control(func(fd uintptr) { attempt(fd) }); cerr != nil {
		return 0, 0, cerr
	}
	if sender, ok := from.(*unix.SockaddrNetlink); ok {
		port = sender.Pid
	}
	return n, port, err
}

func (s *socket) SetReadDeadline(t time.Time) error { return s.file.SetReadDeadline(t) }

func (s *socket) Control(f func(fd int) error) error {
	var err error
	if cerr := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

func (s *socket) Close() error {
	s.closed.Store(true)
	return s.file.Close()
}
