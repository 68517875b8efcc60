package netdump

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// Dialer opens a netlink socket of one family (unix.NETLINK_…) in some network namespace. It is the one way
// to the kernel here, so tests put their faults there.
type Dialer func(family int) (*netlink.Conn, error)

// Attempts bounds how often a dump is repeated that the kernel could not finish.
const Attempts = 5

var (
	// ErrInterrupted: a table changed while it was dumped (NLM_F_DUMP_INTR), so entries may be missing.
	ErrInterrupted = errors.New("the kernel's table changed while it was read")
	// ErrTruncated: a message ends before its fixed part does.
	ErrTruncated = errors.New("the kernel's answer is truncated")
)

// Table reads a whole table of the kernel and parses each message of it. What parse does not want
// it answers with false. A dump that was interrupted or overran our buffer is repeated from the start.
//
// With ErrInterrupted, what the last attempt found comes along: it is there, but others may be missing. With any other error nothing
// does. Missing rights are firewall.ErrPermission.
func Table[T any](ctx context.Context, from Source, family int, request netlink.Message, parse func([]byte) (T, bool, error)) ([]T, error) {
	var out []T
	var err error
	for range Attempts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out, err = once(from, family, request, parse)
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, ErrInterrupted) && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return nil, Permission(err)
		}
	}
	return out, fmt.Errorf("%w, %d times in a row", err, Attempts)
}

func once[T any](from Source, family int, request netlink.Message, parse func([]byte) (T, bool, error)) (out []T, err error) {
	conn, err := from.take(family)
	if err != nil {
		return nil, err
	}
	defer func() { from.giveBack(family, conn, err == nil) }()
	request.Header.Flags |= netlink.Request | netlink.Dump
	sent, err := conn.Send(request)
	if err != nil {
		return nil, err
	}
	var interrupted error
	for m, err := range conn.ReceiveIter() {
		if err != nil {
			return nil, err
		}
		if m.Header.Sequence != sent.Header.Sequence {
			continue // no answer to this question
		}
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			interrupted = ErrInterrupted
		}
		v, wanted, err := parse(m.Data)
		if err != nil {
			return nil, err
		}
		if wanted {
			out = append(out, v)
		}
	}
	return out, interrupted
}

// Attributes walks netlink attributes until f fails.
func Attributes(b []byte, f func(kind uint16, data []byte) error) error {
	attrs, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	for _, a := range attrs {
		if err := f(a.Type&^flags, a.Data); err != nil {
			return err
		}
	}
	return nil
}

// Absent reports whether the kernel (or this namespace) lacks the subsystem asked: no such netlink family,
// no such nfnetlink subsystem (EINVAL from nfnetlink_rcv_msg, net/netfilter/nfnetlink.c), no such diag
// handler (ENOENT from inet_diag_lock_handler, net/ipv4/inet_diag.c), no such address family.
func Absent(err error) bool {
	for _, e := range []unix.Errno{unix.ENOENT, unix.EINVAL, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENODEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Permission turns what the kernel says to those without rights into firewall.ErrPermission.
func Permission(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (%w)", firewall.ErrPermission, err)
	}
	return err
}
