package connections

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"

	"github.com/mdlayher/netlink"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netdump"
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
	// beLiberal is IP_CT_TCP_FLAG_BE_LIBERAL: set for both directions of a connection that was picked up in
	// the middle (net/netfilter/nf_conntrack_proto_tcp.c, tcp_new, under nf_conntrack_tcp_loose).
	beLiberal = 0x08
)

// ctMessage is struct nfgenmsg (include/uapi/linux/netfilter/nfnetlink.h) and attributes.
func ctMessage(kind int, flags netlink.HeaderFlags, family uint8, attrs []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | kind), Flags: netlink.Request | flags},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attrs...),
	}
}

const nfgenmsgLen = 4

// flows dumps the TCP, UDP and SCTP entries of the conntrack table. A kernel without it has none.
func flows(ctx context.Context, from netdump.Source) ([]flow, error) {
	out, err := netdump.Table(ctx, from, unix.NETLINK_NETFILTER, ctMessage(ctGet, 0, unix.AF_UNSPEC, nil), parseFlow)
	if netdump.Absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing tracked connections (conntrack): %w", err)
	}
	return out, nil
}

// tracksNone reports whether the conntrack table has no entry of this namespace (Documentation/networking/nf_conntrack-sysctl.rst), as it is where nothing
// asks for tracking. All namespaces share the table, and to walk its hundreds of thousands of places takes milliseconds, however few are taken.
func tracksNone(proc fs.FS) bool {
	count, err := fs.ReadFile(proc, "sys/net/netfilter/nf_conntrack_count")
	return err == nil && string(bytes.TrimSpace(count)) == "0"
}

func parseFlow(b []byte) (f flow, ok bool, err error) {
	if len(b) < nfgenmsgLen {
		return f, false, netdump.ErrTruncated
	}
	err = netdump.Attributes(b[nfgenmsgLen:], func(kind uint16, data []byte) (err error) {
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
			err = netdump.Attributes(data, func(kind uint16, data []byte) error {
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
	return netdump.Attributes(b, func(kind uint16, data []byte) error {
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
	err = netdump.Attributes(b, func(part uint16, data []byte) error {
		return netdump.Attributes(data, func(kind uint16, data []byte) error {
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
func tuple(e ends, p firewall.Protocol) func(*netlink.AttributeEncoder) error {
	src, dst := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
	if e.src.Addr().Is6() {
		src, dst = ctaIPv6Src, ctaIPv6Dst
	}
	return func(ae *netlink.AttributeEncoder) error {
		ae.Nested(ctaTupleIP, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(src, e.src.Addr().AsSlice())
			ae.Bytes(dst, e.dst.Addr().AsSlice())
			return nil
		})
		ae.Nested(ctaTupleProto, func(ae *netlink.AttributeEncoder) error {
			ae.ByteOrder = binary.BigEndian
			ae.Uint8(ctaProtoNum, uint8(p))
			ae.Uint16(ctaProtoSrcPort, e.src.Port())
			ae.Uint16(ctaProtoDstPort, e.dst.Port())
			return nil
		})
		return nil
	}
}

func (f flow) family() uint8 {
	if f.orig.src.Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// deletion is the message that deletes whatever entry has the flow's original tuple, in either
// direction: ctnetlink looks a tuple up in both (net/netfilter/nf_conntrack_netlink.c, ctnetlink_del_conntrack).
func (f flow) deletion() (netlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	ae.Nested(ctaTupleOrig, tuple(f.orig, f.protocol))
	if f.zone != 0 {
		ae.Uint16(ctaZone, f.zone)
	}
	attrs, err := ae.Encode()
	return ctMessage(ctDelete, netlink.Acknowledge, f.family(), attrs), err
}

// forget removes an entry, so that the next packet begins a connection of its own.
func forget(dial netdump.Dialer, f flow) error {
	conn, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return netdump.Permission(err)
	}
	defer func() { _ = conn.Close() }()
	if err := remove(conn, f); err != nil {
		return fmt.Errorf("deleting the tracked connection: %w", netdump.Permission(err))
	}
	return nil
}

// remove deletes the entry with the flow's original tuple; none is no error.
func remove(conn *netlink.Conn, f flow) error {
	m, err := f.deletion()
	if err != nil {
		return err
	}
	if _, err = conn.Execute(m); errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
