package netdump

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// messageBuffer is the most that the kernel puts into one message of a dump (net/netlink/af_netlink.c, netlink_recvmsg:
// 32 KiB less its own overhead), provided that it was once offered such a buffer; otherwise it sends pages.
const messageBuffer = 32 << 10

// Dial is the Dialer of the calling thread's network namespace.
func Dial(family int) (*netlink.Conn, error) { return open(family, 0) }

// In returns the Dialer of another network namespace, given an open file of /proc/PID/ns/net or the like, which must stay
// open as long as the Dialer is used. Entering takes CAP_SYS_ADMIN; without it the Dialer fails with
// firewall.ErrPermission. The socket is opened on a thread of its own, so the caller's stays where it is.
//
// A descriptor alone is never trusted: one that was closed and used again leads somewhere else, and the wrong
// namespace answers just as well. So each socket is asked where it is (ioctl SIOCGSKNS) before it is handed out.
func In(ns *os.File) Dialer {
	return func(family int) (*netlink.Conn, error) {
		defer runtime.KeepAlive(ns)
		var wanted unix.Stat_t
		if err := unix.Fstat(int(ns.Fd()), &wanted); err != nil {
			return nil, fmt.Errorf("entering a network namespace: %w", err)
		}
		conn, err := open(family, int(ns.Fd()))
		if err != nil {
			return nil, fmt.Errorf("entering network namespace %d: %w", wanted.Ino, Permission(err))
		}
		at, err := namespaceOf(conn)
		if err == nil && at != wanted.Ino {
			err = fmt.Errorf("the socket is in %d", at)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("entering network namespace %d: %w", wanted.Ino, Permission(err)), conn.Close())
		}
		return conn, nil
	}
}

// open opens a netlink socket in the namespace behind a descriptor; 0 is the calling thread's.
func open(family, ns int) (*netlink.Conn, error) {
	conn, err := netlink.Dial(family, &netlink.Config{NetNS: ns, MessageBufferSize: messageBuffer})
	if err != nil {
		return nil, err
	}
	// Dumps are filtered by the kernel where it can (Linux 4.20); the caller filters again.
	_ = conn.SetOption(netlink.GetStrictCheck, true)
	return conn, nil
}

// namespaceOf is the inode of the network namespace that a socket is in.
func namespaceOf(conn *netlink.Conn) (uint64, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	return NamespaceOf(raw)
}

// NamespaceOf is the inode of the network namespace that a socket is in. It takes CAP_NET_ADMIN there.
func NamespaceOf(raw syscall.RawConn) (uint64, error) {
	var st unix.Stat_t
	var failed error
	if err := raw.Control(func(fd uintptr) {
		// The ioctl takes no argument and returns a new descriptor (net/socket.c, sock_ioctl; Linux 4.9).
		ns, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SIOCGSKNS, 0)
		if errno != 0 {
			failed = os.NewSyscallError("SIOCGSKNS", errno)
			return
		}
		failed = unix.Fstat(int(ns), &st)
		_ = unix.Close(int(ns))
	}); err != nil {
		return 0, err
	}
	return st.Ino, failed
}
