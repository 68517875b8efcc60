package denied

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"
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

// nfgenmsgLen is the size of struct nfgenmsg (include/uapi/linux/netfilter/nfnetlink.h).
const nfgenmsgLen = 4

// report is one message of the kernel about one packet. Its slices point into the datagram.
type report struct {
	prefix, payload []byte
	indev           uint32
	seq             uint32
	hasSeq          bool
	time            time.Time // zero if the kernel did not say
}

var errDamaged = errors.New("a netlink message is longer than what holds it")

// eachMessage walks the messages of a datagram: the type without the subsystem's part, and what follows the header.
func eachMessage(b []byte, f func(kind uint16, data []byte)) error {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return errDamaged
		}
		f(binary.NativeEndian.Uint16(b[4:]), b[unix.NLMSG_HDRLEN:size])
		b = b[min(len(b), (size+3)&^3):]
	}
	if len(b) > 0 {
		return errDamaged
	}
	return nil
}

// decodeReport reads a message of type messagePacket, without allocating.
func decodeReport(data []byte) (r report, err error) {
	if len(data) < nfgenmsgLen {
		return r, errDamaged
	}
	b := data[nfgenmsgLen:]
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			return r, errDamaged
		}
		value := b[unix.SizeofNlAttr:size]
		switch binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER) {
		case attrPrefix:
			r.prefix = value
			if n := len(value); n > 0 && value[n-1] == 0 {
				r.prefix = value[:n-1]
			}
		case attrPayload:
			r.payload = value
		case attrIndev:
			if len(value) >= 4 {
				r.indev = binary.BigEndian.Uint32(value)
			}
		case attrSeq:
			if len(value) >= 4 {
				r.seq, r.hasSeq = binary.BigEndian.Uint32(value), true
			}
		case attrTimestamp:
			if len(value) >= 16 {
				r.time = timestamp(binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:]))
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return r, nil
}

// timestamp is zero for what no clock says: JSON has no years beyond 9999.
func timestamp(sec, usec uint64) time.Time {
	const year9999 = 253402300799
	if sec == 0 || sec > year9999 || usec >= 1e6 {
		return time.Time{}
	}
	return time.Unix(int64(sec), int64(usec)*1000).UTC()
}
