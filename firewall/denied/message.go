package denied

import (
	"encoding/binary"
	"time"

	"github.com/portgrave/portgrave/firewall/netlink"
)

// Message types and attributes of nfnetlink_log (include/uapi/linux/netfilter/nfnetlink_log.h).
const (
	messagePacket = 0 // NFULNL_MSG_PACKET
	messageConfig = 1 // NFULNL_MSG_CONFIG

	attrTimestamp = 3  // NFULA_TIMESTAMP: struct nfulnl_msg_packet_timestamp
	attrIndev     = 4  // NFULA_IFINDEX_INDEV
	attrPayload   = 9  // NFULA_PAYLOAD
	attrPrefix    = 10 // NFULA_PREFIX
	attrSeq       = 12 // NFULA_SEQ
)

// report is one message of the kernel about one packet. Its slices point into the datagram.
type report struct {
	prefix, payload []byte
	indev           uint32
	seq             uint32
	hasSeq          bool
	time            time.Time // zero if the kernel did not say
}

// decodeReport reads the attributes of a message of type messagePacket, without allocating.
func decodeReport(attributes []byte) (r report, err error) {
	a, err := netlink.Parse(attributes)
	r.prefix = a.Bytes(attrPrefix)
	if n := len(r.prefix); n > 0 && r.prefix[n-1] == 0 {
		r.prefix = r.prefix[:n-1]
	}
	r.payload = a.Bytes(attrPayload)
	r.indev = uint32(a.Number(attrIndev))
	r.seq, r.hasSeq = uint32(a.Number(attrSeq)), a.Has(attrSeq)
	if b := a.Bytes(attrTimestamp); len(b) >= 16 {
		r.time = timestamp(binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]))
	}
	return r, err
}

// timestamp is zero for what no clock says: JSON has no years beyond 9999.
func timestamp(sec, usec uint64) time.Time {
	const year9999 = 253402300799
	if sec == 0 || sec > year9999 || usec >= 1e6 {
		return time.Time{}
	}
	return time.Unix(int64(sec), int64(usec)*1000).UTC()
}
