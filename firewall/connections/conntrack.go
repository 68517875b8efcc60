package connections

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// flow is a conntrack entry: the tuple of its first packet, and that of the replies to it. They
// mirror each other unless addresses are translated.
type flow struct {
	protocol firewall.Protocol
	orig     ends
	reply    ends
	zone     uint16
	seconds  uint32 // until the entry expires if no packet comes
	state    uint8  // of TCP: ctEstablished, …
	// pickedUp: conntrack met the TCP connection in the middle, so the first packet it saw says
	// nothing about who opened it.
	pickedUp bool
}

type ends struct{ src, dst netip.AddrPort }

func (e ends) mirror() ends { return ends{e.dst, e.src} }

// ctnetlink messages and attributes (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctNew    = 0 // IPCTNL_MSG_CT_NEW
	ctGet    = 1 // IPCTNL_MSG_CT_GET
	ctDelete = 2 // IPCTNL_MSG_CT_DELETE

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4
	ctaTimeout    = 7
	ctaZone       = 18

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Src = 1
	ctaIPv4Dst = 2
	ctaIPv6Src = 3
	ctaIPv6Dst = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3

	ctaProtoInfoTCP         = 1
	ctaProtoInfoTCPState    = 1
	ctaProtoInfoTCPFlags    = 4 // CTA_PROTOINFO_TCP_FLAGS_ORIGINAL
	ctaProtoInfoTCPFlagsRep = 5 // CTA_PROTOINFO_TCP_FLAGS_REPLY
)

// Of include/uapi/linux/netfilter/nf_conntrack_tcp.h.
const (
	ctEstablished = 3 // TCP_CONNTRACK_ESTABLISHED
	ctTimeWait    = 7 // TCP_CONNTRACK_TIME_WAIT
	// beLiberal is IP_CT_TCP_FLAG_BE_LIBERAL: set for both directions of a connection that was
	// picked up in the middle (net/netfilter/nf_conntrack_proto_tcp.c, tcp_new, under
	// nf_conntrack_tcp_loose).
	beLiberal = 0x08
)

// conntrack is a request to ctnetlink.
func conntrack(
	kind, family uint8,
	flags uint16,
	attributes func(*netlink.Encoder),
) netlink.Request {
	return netlink.Netfilter(unix.NFNL_SUBSYS_CTNETLINK, kind, family, flags, attributes)
}

// flows dumps the TCP, UDP and SCTP entries of the conntrack table. A kernel without it has none.
func flows(ctx context.Context, from netlink.Source) ([]flow, error) {
	request := conntrack(ctGet, unix.AF_UNSPEC, 0, nil)
	out, err := netlink.Table(ctx, from, unix.NETLINK_NETFILTER, request, parseFlow)
	if netlink.Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing tracked connections (conntrack): %w", err)
	}
	return out, nil
}

// tracksNothing reports whether the conntrack table has no entry of this namespace
// (Documentation/networking/nf_conntrack-sysctl.rst), as it is where nothing asks for tracking. All
// namespaces share the table, and to walk its hundreds of thousands of places takes milliseconds,
// however few are taken.
func tracksNothing(proc fs.FS) bool {
	count, err := fs.ReadFile(proc, "sys/net/netfilter/nf_conntrack_count")
	return err == nil && string(bytes.TrimSpace(count)) == "0"
}

func parseFlow(m netlink.Message) (f flow, ok bool, err error) {
	err = netlink.Each(m.Attributes, func(kind uint16, data []byte) (err error) {
		switch kind {
		case ctaTupleOrig:
			f.orig, f.protocol, err = parseTuple(data)
		case ctaTupleReply:
			f.reply, _, err = parseTuple(data)
		case ctaZone:
			if len(data) == 2 {
				f.zone = binary.BigEndian.Uint16(data)
			}
		case ctaTimeout:
			if len(data) == 4 {
				f.seconds = binary.BigEndian.Uint32(data)
			}
		case ctaProtoInfo:
			err = netlink.Each(data, func(kind uint16, data []byte) error {
				if kind != ctaProtoInfoTCP {
					return nil
				}
				return f.parseTCP(data)
			})
		}
		return err
	})
	switch f.protocol {
	case firewall.TCP, firewall.UDP, firewall.SCTP:
	default:
		return f, false, err
	}
	for _, a := range []netip.AddrPort{f.orig.src, f.orig.dst, f.reply.src, f.reply.dst} {
		if !a.IsValid() {
			return f, false, err
		}
	}
	return f, true, err
}

func (f *flow) parseTCP(b []byte) error {
	return netlink.Each(b, func(kind uint16, data []byte) error {
		switch {
		case len(data) == 0:
		case kind == ctaProtoInfoTCPState:
			f.state = data[0]
		case kind == ctaProtoInfoTCPFlags, kind == ctaProtoInfoTCPFlagsRep:
			// struct nf_ct_tcp_flags: flags, mask.
			f.pickedUp = f.pickedUp || data[0]&beLiberal != 0
		}
		return nil
	})
}

func parseTuple(b []byte) (e ends, p firewall.Protocol, err error) {
	var src, dst netip.Addr
	var sport, dport uint16
	err = netlink.Each(b, func(part uint16, data []byte) error {
		return netlink.Each(data, func(kind uint16, data []byte) error {
			switch {
			case part == ctaTupleIP && (kind == ctaIPv4Src || kind == ctaIPv6Src):
				src, _ = netip.AddrFromSlice(data)
			case part == ctaTupleIP && (kind == ctaIPv4Dst || kind == ctaIPv6Dst):
				dst, _ = netip.AddrFromSlice(data)
			case part == ctaTupleProto && kind == ctaProtoNum && len(data) == 1:
				p = firewall.Protocol(data[0])
			case part == ctaTupleProto && kind == ctaProtoSrcPort && len(data) == 2:
				sport = binary.BigEndian.Uint16(data)
			case part == ctaTupleProto && kind == ctaProtoDstPort && len(data) == 2:
				dport = binary.BigEndian.Uint16(data)
			}
			return nil
		})
	})
	return ends{netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport)}, p, err
}

// tuple encodes one direction of an entry.
func tuple(e *netlink.Encoder, kind uint16, at ends, p firewall.Protocol) {
	src, dst := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if at.src.Addr().Is6() {
		src, dst = ctaIPv6Src, ctaIPv6Dst
	}
	tuple := e.Nest(kind)
	ip := e.Nest(ctaTupleIP)
	e.Bytes(src, at.src.Addr().AsSlice())
	e.Bytes(dst, at.dst.Addr().AsSlice())
	e.EndNest(ip)
	proto := e.Nest(ctaTupleProto)
	e.Uint8(ctaProtoNum, uint8(p))
	e.Uint16(ctaProtoSrcPort, at.src.Port())
	e.Uint16(ctaProtoDstPort, at.dst.Port())
	e.EndNest(proto)
	e.EndNest(tuple)
}

func (f flow) family() uint8 {
	if f.orig.src.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// forget removes an entry, so that the next packet begins a connection of its own.
func forget(ctx context.Context, dial netlink.Dialer, f flow) error {
	conn, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return remove(ctx, conn, f)
}

// remove deletes the entry with the flow's original tuple, in either direction: ctnetlink looks
// a tuple up in both (net/netfilter/nf_conntrack_netlink.c, ctnetlink_del_conntrack). A missing
// entry is not an error.
func remove(ctx context.Context, conn *netlink.Conn, f flow) error {
	err := conn.Ask(ctx, conntrack(ctDelete, f.family(), unix.NLM_F_ACK, func(e *netlink.Encoder) {
		tuple(e, ctaTupleOrig, f.orig, f.protocol)
		if f.zone != 0 {
			e.Uint16(ctaZone, f.zone)
		}
	}), nil)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("deleting the tracked connection: %w", err)
	}
	return nil
}
