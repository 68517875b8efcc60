package connections

import (
	"context"
	"errors"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Bits of a conntrack entry's status (enum ip_conntrack_status,
// include/uapi/linux/netfilter/nf_conntrack_common.h).
const (
	statusAssured   = 1 << 2 // IPS_ASSURED: not thrown out when the table is full
	statusConfirmed = 1 << 3 // IPS_CONFIRMED: what ctnetlink makes is always that, and must say so
)

// tombstoneSeconds is the least time for which an ended connection's tuple stays taken: TCP's
// longest wait between two retransmissions (TCP_RTO_MAX, include/net/tcp.h).
const tombstoneSeconds = 120

// buryAttempts bounds how often a server that pushes at that very moment may get in between.
const buryAttempts = 20

// bury ends a forwarded connection: its conntrack entry goes, and a tombstone takes its place, an
// entry with the client's tuple and no translation.
//
// Without the tombstone the connection comes back to life. The container's next packet belongs to
// no entry, so it is taken for a new outgoing connection and masqueraded; where the published port
// is the container's too, it leaves with the very tuple the client knows. From then on the client's
// packets are replies, and accepted. With the tuple taken, masquerading has to choose another port;
// the client knows nothing of that and answers with a reset, which ends the server's side.
//
// A server may be silent for long before it sends again, so the tombstone lives as long as the
// entry would have that it replaces. Packets of the client, which still match it though the rules
// drop them, bring that down to 300 s from the last one (nf_conntrack_tcp_timeout_unacknowledged),
// and its reset ends it: by then the client has nothing left to take up again. A client that
// vanished without a word, is allowed once more and happens to use the same port is refused on that
// port until the tombstone's time is up; on any other it connects at once.
//
// What it does not stop is a client that forges packets: mid-stream packets of the container make
// an outgoing entry on whatever port, and one who answers there by hand is let in as a reply until
// the server's side ends.
func bury(ctx context.Context, dial netlink.Dialer, f flow) error {
	conn, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	for range buryAttempts {
		if err := remove(ctx, conn, f); err != nil {
			return err
		}
		if err = conn.Ask(ctx, f.tombstone(), nil); err == nil {
			return nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf(
				"the tracked connection was deleted, but nothing keeps the server from taking it up again: %w",
				err,
			)
		}
	}
	return fmt.Errorf(
		"the server took the connection up again %d times in a row: %w",
		buryAttempts,
		err,
	)
}

// tombstone is the message that makes the tombstone; the kernel answers EEXIST if the tuple is
// taken.
func (f flow) tombstone() netlink.Request {
	const flags = unix.NLM_F_ACK | unix.NLM_F_CREATE | unix.NLM_F_EXCL
	return conntrack(ctNew, f.family(), flags, func(e *netlink.Encoder) {
		tuple(e, ctaTupleOrig, f.orig, f.protocol)
		tuple(e, ctaTupleReply, f.orig.mirror(), f.protocol)
		e.Uint32(ctaTimeout, max(tombstoneSeconds, f.seconds))
		e.Uint32(ctaStatus, statusConfirmed|statusAssured)
		if f.zone != 0 {
			e.Uint16(ctaZone, f.zone)
		}
		if f.protocol == firewall.TCP {
			info := e.Nest(ctaProtoInfo)
			tcp := e.Nest(ctaProtoInfoTCP)
			e.Uint8(ctaProtoInfoTCPState, ctEstablished)
			e.EndNest(tcp)
			e.EndNest(info)
		}
	})
}
