package nft

import (
	"context"

	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// socket is one lasting connection to nf_tables. An owned table belongs to it, so the one that
// writes is never replaced.
type socket struct{ *netlink.Conn }

// socketBuffer is asked for in both directions. The send buffer must hold a whole transaction (a
// million prefixes take about 100 MB); the receive buffer the errors of one.
const socketBuffer = 512 << 20

func openSocket() (*socket, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, err
	}
	return &socket{conn}, conn.SetBuffers(socketBuffer, socketBuffer)
}

// request sends one message and hands every answer to each: its attributes, after struct nfgenmsg,
// in memory that is used again.
func (s *socket) request(kind int, flags uint16, attrs func(*encoder),
	each func(attrs []byte) error) error {
	const subsystem, family = unix.NFNL_SUBSYS_NFTABLES, unix.NFPROTO_INET
	r := netlink.Netfilter(subsystem, uint8(kind), family, flags, func(e *netlink.Encoder) {
		if attrs != nil {
			attrs(&encoder{Encoder: e})
		}
	})
	take := func(m netlink.Message) error { return each(m.Attributes) }
	return s.Ask(context.Background(), r, take)
}
