package nftables

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// headerField is a field of the model by its bytes in a header.
type headerField struct {
	at, n int
	field exposure.Field
}

// Headers in the order of their bytes. IPv6's next header isn't among them: behind it there may be
// extension headers, and the model's protocol is the transport's.
var (
	linkHeader = []headerField{{0, 6, exposure.FieldDestMAC}, {6, 6, exposure.FieldSourceMAC}}
	ipv4Header = []headerField{
		{9, 1, exposure.FieldProtocol},
		{12, 4, exposure.FieldSource4},
		{16, 4, exposure.FieldDest4},
	}
	ipv6Header = []headerField{{8, 16, exposure.FieldSource6}, {24, 16, exposure.FieldDest6}}
	anyPorts   = []headerField{{0, 2, exposure.FieldSport}, {2, 2, exposure.FieldDport}}
	tcpHeader  = []headerField{
		{0, 2, exposure.FieldSport},
		{2, 2, exposure.FieldDport},
		{13, 1, exposure.FieldTCPFlags},
	}
	icmpHeader = []headerField{{0, 1, exposure.FieldICMPType}, {1, 1, exposure.FieldICMPCode}}
)

// header is what the rule knows of a header: IP fields only once it has made sure of the version,
// TCP's flags and ICMP's type only of the protocol.
func (t *translator) header(base exposure.RawBase) []headerField {
	switch base {
	case exposure.RawLink:
		return linkHeader
	case exposure.RawNetwork:
		switch t.version {
		case 4:
			return ipv4Header
		case 6:
			return ipv6Header
		}
	case exposure.RawTransport:
		switch t.protocol {
		case unix.IPPROTO_TCP:
			return tcpHeader
		case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
			return icmpHeader
		}
		return anyPorts
	}
	return nil
}

// rawBase is NFT_PAYLOAD_*_HEADER; what is behind the transport header (3), or in a tunnel (4), has
// a place of its own.
func rawBase(n uint64) (exposure.RawBase, bool) {
	if n > 3 {
		return 0, false
	}
	return [...]exposure.RawBase{exposure.RawLink, exposure.RawNetwork, exposure.RawTransport, exposure.RawInner}[n], true
}

// part is a stretch of a header: a field, or a part of one, or bytes that are no field.
type part struct {
	at, n int
	whole headerField // n is 0 for bytes that are no field
}

// parts cuts length bytes at an offset into fields.
func parts(header []headerField, offset, length int) []part {
	var out []part
	for at, end := offset, offset+length; at < end; {
		p := part{at: at, n: min(end-at, 16)}
		for _, f := range header {
			if f.at <= at && at < f.at+f.n {
				p.n, p.whole = min(end, f.at+f.n)-at, f
				break
			}
			if at < f.at {
				p.n = min(p.n, f.at-at)
			}
		}
		out = append(out, p)
		at += p.n
	}
	return out
}

func (t *translator) payload(e kernel.Payload) {
	base, ok := rawBase(uint64(e.Base))
	offset, length := uint64(e.Offset), uint64(e.Len)
	text := fmt.Sprintf("payload @%d,%d,%d", e.Base, 8*offset, 8*length)
	if !ok || offset > 1<<16 || length == 0 || length > registerBytes {
		if e.Sreg != 0 {
			t.unknownEffect(text + " set")
			return
		}
		t.loadUnknown(e.Dreg, text, int(min(max(length, 1), registerBytes)), true)
		return
	}
	cut := parts(t.header(base), int(offset), int(length))
	if e.Sreg != 0 {
		t.payloadSet(e.Sreg, base, int(offset), cut)
		return
	}
	var pieces []*piece
	for _, p := range cut {
		pieces = append(pieces, p.piece(base))
	}
	t.load(e.Dreg, pieces...)
}

// piece is a part as it lies in the registers.
func (p part) piece(base exposure.RawBase) *piece {
	if p.whole.n > 0 {
		return operand(exposure.Of(p.whole.field), p.whole.n, network).slice(p.at-p.whole.at, p.n)
	}
	raw := exposure.Raw{Base: base, Offset: 8 * p.at, Bits: 8 * p.n}
	return operand(exposure.Operand{Field: exposure.FieldRaw, Raw: raw}, p.n, network)
}

// payloadSet writes header bytes. Only destination address and port are followed; bytes that no
// first packet's way depends on are ignored; anything else makes what is read later unknown. nft
// reads and writes back neighbouring bits with those that it changes.
func (t *translator) payloadSet(source kernel.Register, base exposure.RawBase, offset int,
	cut []part) {
	from, ok := source.Offset()
	if !ok {
		t.unknownEffect("payload set from no register")
		return
	}
	written := false
	for _, p := range cut {
		value := t.registers.compose(from+p.at-offset, p.n, network)
		switch {
		case len(value) == 1 && value[0] == p.piece(base).ops[0]:
			continue // as it was
		case p.whole.n == p.n && (p.whole.field == exposure.FieldDest4 || p.whole.field == exposure.FieldDest6 || p.whole.field == exposure.FieldDport):
			t.add(exposure.Assign{To: p.whole.field, Value: value})
		case t.idle(base, p, value):
			t.add(exposure.NoEffect{
				Text:   fmt.Sprintf("payload set @%s,%d,%d", baseName(base), 8*p.at, 8*p.n),
				Header: base == exposure.RawNetwork,
			})
		default:
			raw := exposure.Raw{Base: base, Offset: 8 * p.at, Bits: 8 * p.n}
			t.add(exposure.Assign{To: exposure.FieldRaw, Raw: raw, Value: value})
		}
		written = true
	}
	if !written {
		t.noEffect("payload set to what it was")
	}
}

func baseName(b exposure.RawBase) string { return [...]string{"ll", "nh", "th", "ih"}[b&3] }

// idle reports whether a write to bytes that are no field leaves everything alone that the packet's
// way depends on: DSCP, ECN, TTL, hop limit, flow label, and in TCP's header what comes behind the
// flags.
func (t *translator) idle(base exposure.RawBase, p part, value []exposure.Operand) bool {
	if p.whole.n > 0 {
		return false
	}
	var free []byte // a mask of bits for each of the header's first bytes that may be changed
	switch {
	case base == exposure.RawNetwork && t.version == 4:
		free = []byte{1: 0xff, 8: 0xff}
	case base == exposure.RawNetwork && t.version == 6:
		free = []byte{0: 0x0f, 1: 0xff, 2: 0xff, 3: 0xff, 7: 0xff}
	case base == exposure.RawTransport && t.protocol == unix.IPPROTO_TCP && p.at >= 14:
		return true
	}
	var mask [16]byte
	for i := range p.n {
		if p.at+i < len(free) {
			mask[i] = free[p.at+i]
		}
	}
	may, _ := exposure.Bytes(mask[:p.n])
	old := p.piece(base).ops[0]
	if len(value) != 1 {
		return false
	}
	// The new value is the old one but for the free bits, however it was put together: from both
	// nothing else may be left.
	if may == exposure.Ones(8*p.n) {
		return true
	}
	return value[0].Or(may) == old.Or(may)
}
