package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Socket speaks to nf_tables.
type Socket struct{ fd int }

// sendBuffer hold the largest batch; the kernel doubles it.
const sendBuffer = 1 << 29

// OpenSocket opens a socket in the calling thread's namespace.
func OpenSocket() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, os.NewSyscallError("socket AF_NETLINK", err)
	}
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer),
	)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("preparing a netfilter socket: %w", err)
	}
	return &Socket{fd}, nil
}

// Close closes it.
func (s *Socket) Close() error { return unix.Close(s.fd) }

// Commit sends a transaction and returns how long the kernel took: it works on it before the call
// returns.
func (s *Socket) Commit(b *Batch) (time.Duration, error) {
	whole := b.finish()
	start := time.Now()
	err := unix.Sendto(s.fd, whole, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	took := time.Since(start)
	if err != nil {
		return took, os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(s.fd, buf, unix.MSG_DONTWAIT)
		if err != nil {
			return took, fmt.Errorf("the kernel has not answered a transaction: %w", err)
		}
		for m := buf[:n]; len(m) >= unix.NLMSG_HDRLEN+4; {
			if binary.NativeEndian.Uint16(m[4:]) == unix.NLMSG_ERROR {
				if code := int32(binary.NativeEndian.Uint32(m[unix.NLMSG_HDRLEN:])); code != 0 {
					return took, fmt.Errorf(
						"nf_tables refuses a transaction: %w",
						unix.Errno(-code),
					)
				}
				if binary.NativeEndian.Uint32(m[8:]) == b.sequence-1 {
					return took, nil // the end's acknowledgement
				}
			}
			m = m[min(len(m), int(binary.NativeEndian.Uint32(m)+3)&^3):]
		}
	}
}

// readSet dumps the set with the buffer that is best for that, and returns how long it took. It
// counts the intervals and looks at nothing else.
func readSet(ctx context.Context) (time.Duration, int, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = c.Close() }()
	request := netlink.Netfilter(
		unix.NFNL_SUBSYS_NFTABLES,
		unix.NFT_MSG_GETSETELEM,
		unix.NFPROTO_INET,
		unix.NLM_F_DUMP,
		func(e *netlink.Encoder) {
			e.String(unix.NFTA_SET_ELEM_LIST_TABLE, tableName)
			e.String(unix.NFTA_SET_ELEM_LIST_SET, setName)
		},
	)
	n := 0
	start := time.Now()
	err = c.Ask(
		ctx,
		request,
		func(m netlink.Message) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			attributes, err := netlink.Parse(m.Attributes)
			if err != nil {
				return err
			}
			return netlink.Each(
				attributes.Bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS),
				func(uint16, []byte) error {
					n++
					return nil
				},
			)
		},
	)
	return time.Since(start), n / 2, err
}
