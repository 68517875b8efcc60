package sockets

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/inetdiag"
	"golang.org/x/sys/unix"
)

// found is a listening socket and where it is.
type found struct {
	inetdiag.Socket
	in     Namespace
	device string // name of the interface it is bound to; "" is none
}

// waiting are the states in which a socket takes packets from everybody (include/net/tcp_states.h,
// which BPF exports). A UDP socket that is connected is ESTABLISHED and hears its one peer only.
var waiting = map[firewall.Protocol]uint32{
	firewall.TCP:  1 << unix.BPF_TCP_LISTEN,
	firewall.UDP:  1 << unix.BPF_TCP_CLOSE,
	firewall.SCTP: 1 << unix.BPF_TCP_LISTEN, // SCTP_SS_LISTENING (include/net/sctp/constants.h)
}

// listening lists the sockets of a namespace that listen, and the namespace's addresses. err:
// nothing at all could be read; unread: something couldn't.
func (h host) listening(
	ctx context.Context,
	in Namespace,
	at *place,
) (out []found, addresses []netip.Addr, unread []error, err error) {
	dial := h.here
	if !in.Current {
		file, err := h.open(at)
		if err != nil {
			return nil, nil, nil, err
		}
		defer func() { _ = file.Close() }()
		dial = h.into(file)
	}
	from := netlink.NewPool(dial)
	defer func() { _ = from.Close() }()
	listed, bound := false, false
	for _, p := range firewall.Protocols {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			list, err := inetdiag.List(ctx, from, p, family, waiting[p])
			if err != nil && !h.nothingThere(err, p, family) {
				unread = append(unread, err)
			}
			listed = listed || err == nil || len(list) > 0
			for _, s := range list {
				out = append(out, found{Socket: s, in: in})
				bound = bound || s.Interface() != 0
			}
		}
	}
	if !listed && len(unread) > 0 {
		return nil, nil, nil, unread[0] // the others say the same
	}
	if bound {
		names, err := interfaces(ctx, from)
		if err != nil {
			unread = append(unread, err)
		}
		for i := range out {
			if index := out[i].Interface(); index != 0 {
				out[i].device = deviceName(names, index)
			}
		}
	}
	if len(out) > 0 || !in.Current {
		if addresses, err = addressesOf(ctx, from); err != nil {
			unread = append(unread, err)
		}
	}
	return out, addresses, unread, nil
}

// addressesOf lists the addresses of a namespace.
func addressesOf(ctx context.Context, from netlink.Source) ([]netip.Addr, error) {
	request := netlink.Request{Kind: unix.RTM_GETADDR, Header: make([]byte, unix.SizeofIfAddrmsg)}
	list, err := netlink.Table(
		ctx,
		from,
		unix.NETLINK_ROUTE,
		request,
		func(m netlink.Message) (netip.Addr, bool, error) {
			a, err := netlink.Parse(m.Attributes)
			// Of a point-to-point link IFA_ADDRESS is the far end (include/uapi/linux/if_addr.h).
			address, ok := netip.AddrFromSlice(a.Bytes(unix.IFA_LOCAL))
			if !ok {
				address, ok = netip.AddrFromSlice(a.Bytes(unix.IFA_ADDRESS))
			}
			return address, ok, err
		},
	)
	if err != nil {
		return list, fmt.Errorf("addresses: %w", err)
	}
	return list, nil
}

// nothingThere reports whether an error means that the kernel has no such sockets, as opposed to no
// way to list them: it has IPv6 switched off, or doesn't know the protocol at all (SCTP is a module
// that most hosts never load).
func (h host) nothingThere(err error, p firewall.Protocol, family uint8) bool {
	if family == unix.AF_INET6 && errors.Is(err, unix.EAFNOSUPPORT) {
		return true
	}
	if p != firewall.SCTP || !netlink.Absent(err) {
		return false
	}
	// "protocol size sockets …", a line a protocol, whether or not this namespace has such sockets
	// (net/core/sock.c, proto_seq_ops).
	known, err := fs.ReadFile(h.processes.Proc, "self/net/protocols")
	return err == nil && !strings.Contains(string(known), "SCTP")
}

// deviceName is the name of an interface by its index. A socket outlives its interface; what has no
// name is called so that it can't be mistaken for one: no interface's name has a space
// (net/core/dev.c, dev_valid_name).
func deviceName(names map[int]string, index int) string {
	if name := names[index]; name != "" {
		return name
	}
	return fmt.Sprintf("index %d", index)
}

// interfaces are the names of a namespace's interfaces by index.
func interfaces(ctx context.Context, from netlink.Source) (map[int]string, error) {
	names := map[int]string{}
	request := netlink.Request{Kind: unix.RTM_GETLINK, Header: make([]byte, unix.SizeofIfInfomsg)}
	_, err := netlink.Table(
		ctx,
		from,
		unix.NETLINK_ROUTE,
		request,
		func(m netlink.Message) (_ struct{}, _ bool, err error) {
			// struct ifinfomsg (include/uapi/linux/rtnetlink.h): family, padding, type, index, flags,
			// change.
			a, err := netlink.Parse(m.Attributes)
			names[int(netlink.Native(m.Header[4:8]))] = a.String(unix.IFLA_IFNAME)
			return struct{}{}, false, err
		},
	)
	if err != nil {
		err = fmt.Errorf("listing interfaces (rtnetlink): %w", err)
	}
	return names, err
}

// numbered reports whether a network namespace has a number in the one of a connection, as those at
// the other ends of its links do (RTM_GETNSID, rtnetlink(7)).
func numbered(ctx context.Context, dial netlink.Dialer, namespace *os.File) bool {
	conn, err := dial(unix.NETLINK_ROUTE)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	number := int32(-1) // NETNSA_NSID_NOT_ASSIGNED
	err = conn.Ask(ctx, netlink.Request{
		Kind:   unix.RTM_GETNSID,
		Header: make([]byte, 4), // struct rtgenmsg, padded
		Attributes: func(e *netlink.Encoder) {
			e.Bytes(unix.NETNSA_FD, binary.NativeEndian.AppendUint32(nil, uint32(namespace.Fd())))
		},
	}, func(m netlink.Message) error {
		a, err := netlink.Parse(m.Attributes)
		if a.Has(unix.NETNSA_NSID) {
			number = int32(netlink.Native(a.Bytes(unix.NETNSA_NSID)))
		}
		return err
	})
	return err == nil && number >= 0
}

// inodeOf is an open file's inode; 0 if the kernel doesn't say.
func inodeOf(f *os.File) uint64 {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return st.Ino
}
