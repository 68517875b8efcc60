package watch

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// socket is a netlink socket of the network namespace it was opened in. Go's network poller is left
// out: it would wake another thread first, and the author may be gone by then.
type socket struct{ fd int }

func openSocket() (socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return socket{}, explained(err)
	}
	s := socket{fd}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = s.close()
		return socket{}, explained(err)
	}
	return s, nil
}

func (s socket) close() error { return unix.Close(s.fd) }

// setBuffer asks for a receive buffer beyond the system's limit, and takes what it gets.
func (s socket) setBuffer(size int) error {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) == nil {
		return nil
	}
	// CAP_NET_ADMIN only in a user namespace.
	return unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
}

// join and leave enter and leave the group of nf_tables' notifications.
func (s socket) join() error {
	return explained(unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES))
}

func (s socket) leave() error {
	return explained(unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, unix.NFNLGRP_NFTABLES))
}

var errTruncated = errors.New("netlink: a datagram larger than the buffer")

// receive reads one datagram that the kernel sent; EAGAIN if there is none. Others' datagrams are skipped.
func (s socket) receive(b []byte) ([]byte, error) {
	for {
		n, _, flags, from, err := unix.Recvmsg(s.fd, b, nil, unix.MSG_DONTWAIT)
		if err != nil {
			return nil, err
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue
		}
		if flags&unix.MSG_TRUNC != 0 {
			return nil, errTruncated
		}
		return b[:n], nil
	}
}

// generation asks for the number of the latest commit. The socket must be in no group, so that nothing
// but the answer comes. The kernel answers before sendto returns.
func (s socket) generation() (uint32, error) {
	request := make([]byte, messageHeader)
	binary.NativeEndian.PutUint32(request, messageHeader)
	binary.NativeEndian.PutUint16(request[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(s.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, explained(err)
	}
	answer, err := s.receive(make([]byte, 4096))
	if err != nil {
		return 0, explained(err)
	}
	if len(answer) >= unix.NLMSG_HDRLEN+4 && binary.NativeEndian.Uint16(answer[4:]) == unix.NLMSG_ERROR {
		return 0, explained(unix.Errno(-int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:]))))
	}
	for m, err := range messages(answer) {
		if err == nil && m.kind == unix.NFT_MSG_NEWGEN {
			return decodeCommit(m).generation, nil
		}
	}
	return 0, errors.New("netlink: no answer to the question for nf_tables' generation")
}

// explained wraps what an administrator can act on.
func explained(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (%w)", firewall.ErrPermission, err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: it has no nf_tables (%w)", firewall.ErrUnsupported, err)
	}
	return err
}
