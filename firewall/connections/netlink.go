package connections

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// dialer opens a netlink socket of one family (unix.NETLINK_…) in the network namespace of the calling
// thread. It is the one way to the kernel here, so tests put their faults there.
type dialer func(family int) (*netlink.Conn, error)

func dialKernel(family int) (*netlink.Conn, error) {
	conn, err := netlink.Dial(family, nil)
	if err != nil {
		return nil, err
	}
	// Dumps are filtered by the kernel where it can (Linux 4.20); we filter again.
	_ = conn.SetOption(netlink.GetStrictCheck, true)
	return conn, nil
}

// dumpAttempts bounds how often a dump is repeated that the kernel could not finish.
const dumpAttempts = 5

var (
	// errInterrupted: a table changed while it was dumped (NLM_F_DUMP_INTR), so entries may be missing.
	errInterrupted = errors.New("the kernel's table changed while it was read")
	// errTruncated: a message ends before its fixed part does.
	errTruncated = errors.New("the kernel's answer is truncated")
)

// dump reads a whole table of the kernel and parses each message of it. What parse does not want
// it answers with false. A dump that was interrupted or overran our buffer is repeated from the start.
func dump[T any](ctx context.Context, dial dialer, family int, request netlink.Message, parse func([]byte) (T, bool, error)) ([]T, error) {
	var err error
	for range dumpAttempts {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var out []T
		out, err = dumpOnce(dial, family, request, parse)
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, errInterrupted) && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return nil, permission(err)
		}
	}
	return nil, fmt.Errorf("%w, %d times in a row", err, dumpAttempts)
}

func dumpOnce[T any](dial dialer, family int, request netlink.Message, parse func([]byte) (T, bool, error)) ([]T, error) {
	conn, err := dial(family)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	request.Header.Flags |= netlink.Request | netlink.Dump
	sent, err := conn.Send(request)
	if err != nil {
		return nil, err
	}
	var out []T
	for m, err := range conn.ReceiveIter() {
		if err != nil {
			return nil, err
		}
		if m.Header.Sequence != sent.Header.Sequence {
			continue // no answer to this question
		}
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, errInterrupted
		}
		v, wanted, err := parse(m.Data)
		if err != nil {
			return nil, err
		}
		if wanted {
			out = append(out, v)
		}
	}
	return out, nil
}

// attributes walks netlink attributes until f fails.
func attributes(b []byte, f func(kind uint16, data []byte) error) error {
	attrs, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		return fmt.Errorf("%w: %w", errTruncated, err)
	}
	const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	for _, a := range attrs {
		if err := f(a.Type&^flags, a.Data); err != nil {
			return err
		}
	}
	return nil
}

// absent reports whether the kernel (or this namespace) lacks the subsystem asked: no such netlink family,
// no such nfnetlink subsystem (EINVAL from nfnetlink_rcv_msg, net/netfilter/nfnetlink.c), no such diag
// handler (ENOENT from inet_diag_lock_handler, net/ipv4/inet_diag.c), no such address family.
func absent(err error) bool {
	for _, e := range []unix.Errno{unix.ENOENT, unix.EINVAL, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENODEV} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func permission(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w (%w)", firewall.ErrPermission, err)
	}
	return err
}
