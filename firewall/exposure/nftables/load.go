package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// Keys of meta that x/sys/unix may lack: enum nft_meta_keys.
const (
	metaSecpath                        = 25
	metaIIFKind, metaOIFKind           = 26, 27
	metaBriPVID, metaBriVProto         = 28, 29
	metaTimeNS, metaTimeDay, metaHour  = 30, 31, 32
	metaSDIF, metaSDIFName, metaBroute = 33, 34, 35
	metaBriHWAddr                      = 36
)

// metaLoad is a key of meta that is read: its field, or what the unknown is called.
type metaLoad struct {
	field exposure.Field
	n     int
	order order
	text  string // FieldNone: unknown
	may   bool   // the load can end the rule
}

// metaLoads follow nft_meta_get_eval and nft_meta_get_init (net/netfilter/nft_meta.c).
var metaLoads = map[uint64]metaLoad{
	unix.NFT_META_LEN:       {field: exposure.FieldLength, n: 4, order: host},
	unix.NFT_META_PROTOCOL:  {field: exposure.FieldEtherType, n: 2},
	unix.NFT_META_PRIORITY:  {n: 4, order: host, text: "meta priority"},
	unix.NFT_META_MARK:      {field: exposure.FieldMark, n: 4, order: host},
	unix.NFT_META_IIF:       {field: exposure.FieldInIndex, n: 4, order: host},
	unix.NFT_META_OIF:       {field: exposure.FieldOutIndex, n: 4, order: host},
	unix.NFT_META_IIFNAME:   {field: exposure.FieldInName, n: 16},
	unix.NFT_META_OIFNAME:   {field: exposure.FieldOutName, n: 16},
	unix.NFT_META_IIFTYPE:   {n: 2, order: host, text: iifType},
	unix.NFT_META_OIFTYPE:   {n: 2, order: host, text: "meta oiftype", may: true},
	unix.NFT_META_SKUID:     {n: 4, order: host, text: "meta skuid", may: true},
	unix.NFT_META_SKGID:     {n: 4, order: host, text: "meta skgid", may: true},
	unix.NFT_META_NFTRACE:   {n: 1, text: "meta nftrace"},
	unix.NFT_META_RTCLASSID: {n: 4, order: host, text: "meta rtclassid", may: true},
	unix.NFT_META_SECMARK:   {n: 4, order: host, text: "meta secmark"},
	unix.NFT_META_L4PROTO:   {field: exposure.FieldProtocol, n: 1},
	unix.NFT_META_PKTTYPE:   {field: exposure.FieldPacketType, n: 1},
	unix.NFT_META_CPU:       {n: 4, order: host, text: "meta cpu"},
	unix.NFT_META_IIFGROUP:  {field: exposure.FieldInGroup, n: 4, order: host},
	unix.NFT_META_OIFGROUP:  {field: exposure.FieldOutGroup, n: 4, order: host},
	unix.NFT_META_CGROUP:    {n: 4, order: host, text: "meta cgroup", may: true},
	unix.NFT_META_PRANDOM:   {n: 4, order: host, text: "meta random"},
	metaSecpath:             {n: 1, text: "meta ipsec"},
	metaIIFKind:             {field: exposure.FieldInKind, n: 16},
	metaOIFKind:             {n: 16, text: "meta oifkind", may: true},
	metaTimeNS:              {n: 8, order: host, text: "meta time"},
	metaTimeDay:             {n: 1, text: "meta day"},
	metaHour:                {n: 4, order: host, text: "meta hour"},
	metaSDIF:                {n: 4, order: host, text: "meta sdif"},
	metaSDIFName:            {field: exposure.FieldInSlave, n: 16},

	unix.NFT_META_BRI_IIFNAME: {n: 16, text: "meta ibrname", may: true},
	unix.NFT_META_BRI_OIFNAME: {n: 16, text: "meta obrname", may: true},
	metaBriPVID:               {n: 2, order: host, text: "meta ibrpvid", may: true},
	metaBriVProto:             {n: 2, text: "meta ibrvproto", may: true},
	metaBriHWAddr:             {n: 6, text: "meta ibrhwaddr", may: true},
}

// iifType is what an incoming interface's ARPHRD_* is called; see isEthernet.
const iifType = "meta iiftype"

func (t *translator) meta(e kernel.Meta) {
	key := uint64(e.Key)
	if e.Sreg != 0 {
		t.metaSet(e.Sreg, key)
		return
	}
	if key == unix.NFT_META_NFPROTO {
		if f := t.table.Family; f == exposure.FamilyNetdev || f == exposure.FamilyBridge ||
			f == exposure.FamilyARP {
			// There the packet's family is the hook's (nft_pf, include/net/netfilter/nf_tables.h).
			t.load(e.Dreg, constant([]byte{byte(f)}))
			return
		}
		t.load(e.Dreg, operand(exposure.Of(exposure.FieldNFProto), 1, network))
		return
	}
	m, ok := metaLoads[key]
	switch {
	case !ok:
		t.loadUnknown(e.Dreg, fmt.Sprintf("meta key %d", key), 16, true)
	case m.field != exposure.FieldNone:
		t.load(e.Dreg, operand(exposure.Of(m.field), m.n, m.order))
	default:
		if m.may {
			t.unknownMatch(m.text)
		}
		t.load(e.Dreg, operand(unknown(m.text, m.n), m.n, m.order))
	}
}

// metaSet: only the mark is of concern to later rules and routing. The packet's type is, too, but
// has no words in the model; and a bridge's broute lets it go another way.
func (t *translator) metaSet(source kernel.Register, key uint64) {
	from, ok := source.Offset()
	switch {
	case !ok:
		t.unknownEffect("meta set from no register")
	case key == unix.NFT_META_MARK:
		t.add(exposure.Assign{To: exposure.FieldMark, Value: t.registers.compose(from, 4, host)})
	case key == unix.NFT_META_PRIORITY:
		t.noEffect("meta priority set")
	case key == unix.NFT_META_NFTRACE:
		t.noEffect("meta nftrace set 1")
	case key == unix.NFT_META_SECMARK:
		t.noEffect("meta secmark set")
	case key == unix.NFT_META_PKTTYPE:
		t.unknownEffect("meta pkttype set")
	case key == metaBroute:
		t.unknownEffect("meta broute set")
	default:
		t.unknownEffect(fmt.Sprintf("meta key %d set", key))
	}
}

// Keys of ct that x/sys/unix may lack: enum nft_ct_keys.
const (
	ctAvgPkt, ctZone, ctEventMask         = 16, 17, 18
	ctSrcIP, ctDstIP, ctSrcIP6, ctDstIP6  = 19, 20, 21, 22
	ctID                                  = 23
	ctDirectionOriginal, ctDirectionReply = 0, 1 // IP_CT_DIR_*
)

// ctTuple are the fields of one direction of a connection.
type ctTuple struct{ source4, source6, dest4, dest6, sport, dport exposure.Field }

var ctTuples = map[uint64]ctTuple{
	ctDirectionOriginal: {
		exposure.FieldCTOrigSource4,
		exposure.FieldCTOrigSource6,
		exposure.FieldCTOrigDest4,
		exposure.FieldCTOrigDest6,
		exposure.FieldCTOrigSport,
		exposure.FieldCTOrigDport,
	},
	ctDirectionReply: {
		exposure.FieldCTReplySource4,
		exposure.FieldCTReplySource6,
		exposure.FieldCTReplyDest4,
		exposure.FieldCTReplyDest6,
		exposure.FieldCTReplySport,
		exposure.FieldCTReplyDport,
	},
}

// ct follows nft_ct_get_eval (net/netfilter/nft_ct.c). Every key but the state ends the rule where
// there is no connection, as an absent field does.
func (t *translator) ct(e kernel.CT) {
	key := uint64(e.Key)
	if e.Sreg != 0 {
		t.ctSet(e.Sreg, key)
		return
	}
	field := func(f exposure.Field, n int, o order) { t.load(e.Dreg, operand(exposure.Of(f), n, o)) }
	other := func(text string, n int) { t.loadUnknown(e.Dreg, text, n, true) }
	tuple, directed := ctTuples[uint64(e.Direction.Value)]
	directed = directed && e.Direction.Set
	switch key {
	case unix.NFT_CT_STATE:
		field(exposure.FieldCTState, 4, host)
	case unix.NFT_CT_DIRECTION:
		field(exposure.FieldCTDirection, 1, host)
	case unix.NFT_CT_STATUS:
		field(exposure.FieldCTStatus, 4, host)
	case unix.NFT_CT_MARK:
		field(exposure.FieldCTMark, 4, host)
	case unix.NFT_CT_PROTOCOL:
		field(exposure.FieldCTProtocol, 1, host)
	case unix.NFT_CT_L3PROTOCOL:
		// The connection's family is the packet's. But without a connection the rule ends, as it
		// does when this match reads its protocol.
		t.match(exposure.In(exposure.Of(exposure.FieldCTProtocol), exposure.Full(8)))
		field(exposure.FieldNFProto, 1, host)
	case unix.NFT_CT_SECMARK:
		other("ct secmark", 4)
	case unix.NFT_CT_EXPIRATION:
		other("ct expiration", 4)
	case unix.NFT_CT_HELPER:
		other("ct helper", 16)
	case unix.NFT_CT_LABELS:
		field(exposure.FieldCTLabel, 16, network)
	case unix.NFT_CT_PKTS, unix.NFT_CT_BYTES, ctAvgPkt:
		other(
			map[uint64]string{unix.NFT_CT_PKTS: "ct packets", unix.NFT_CT_BYTES: "ct bytes", ctAvgPkt: "ct avgpkt"}[key],
			8,
		)
	case ctID:
		other("ct id", 4)
	case ctZone:
		if e.Direction.Set {
			other("ct zone of a direction", 2)
			return
		}
		field(exposure.FieldCTZone, 2, host)
	default:
		if !directed {
			other(fmt.Sprintf("ct key %d", key), 16)
			return
		}
		t.ctTuple(e, key, tuple)
	}
}

// ctTuple is a part of the original or the reply tuple.
func (t *translator) ctTuple(e kernel.CT, key uint64, tuple ctTuple) {
	field := func(f exposure.Field, n int) { t.load(e.Dreg, operand(exposure.Of(f), n, network)) }
	switch key {
	case ctSrcIP:
		field(tuple.source4, 4)
	case ctDstIP:
		field(tuple.dest4, 4)
	case ctSrcIP6:
		field(tuple.source6, 16)
	case ctDstIP6:
		field(tuple.dest6, 16)
	case unix.NFT_CT_PROTO_SRC:
		field(tuple.sport, 2)
	case unix.NFT_CT_PROTO_DST:
		field(tuple.dport, 2)
	case unix.NFT_CT_SRC,
		unix.NFT_CT_DST: // of the packet's own family; in a table of both that must be known
		source := key == unix.NFT_CT_SRC
		switch {
		case t.version == 4 && t.table.Family == exposure.FamilyIPv4 && source:
			field(tuple.source4, 4)
		case t.version == 4 && t.table.Family == exposure.FamilyIPv4:
			field(tuple.dest4, 4)
		case t.version == 6 && source:
			field(tuple.source6, 16)
		case t.version == 6:
			field(tuple.dest6, 16)
		default:
			t.loadUnknown(e.Dreg, "ct address", 16, true)
		}
	default:
		t.loadUnknown(e.Dreg, fmt.Sprintf("ct key %d", key), 16, true)
	}
}

// ctSet: marks and zones matter to later rules, the rest to nobody on the way.
func (t *translator) ctSet(source kernel.Register, key uint64) {
	from, ok := source.Offset()
	switch {
	case !ok:
		t.unknownEffect("ct set from no register")
	case key == unix.NFT_CT_MARK:
		t.add(exposure.Assign{To: exposure.FieldCTMark, Value: t.registers.compose(from, 4, host)})
	case key == ctZone: // of whatever direction: a template is attached
		t.add(exposure.Assign{To: exposure.FieldCTZone, Value: t.registers.compose(from, 2, host)})
	case key == unix.NFT_CT_LABELS:
		value := t.registers.compose(from, 16, network)
		if bits, constant := value[0].IsConst(); constant && len(value) == 1 {
			t.add(exposure.SetLabel(bits))
			return
		}
		t.unknownEffect("ct label set from a register")
	case key == unix.NFT_CT_SECMARK:
		t.noEffect("ct secmark set")
	case key == ctEventMask:
		t.noEffect("ct event set")
	default:
		t.unknownEffect(fmt.Sprintf("ct key %d set", key))
	}
}

// Flags of fib: enum nft_fib_flags.
const (
	fibSource, fibDest, fibMark, fibIn, fibOut, fibPresent = 1, 2, 4, 8, 16, 32
)

func (t *translator) fib(e kernel.FIB) {
	flags := e.Flags
	f := exposure.Fib{
		Of:     exposure.FibSource,
		ByMark: flags&fibMark != 0,
		ByIn:   flags&fibIn != 0,
		ByOut:  flags&fibOut != 0,
	}
	if flags&fibDest != 0 {
		f.Of = exposure.FibDest
	}
	n, o := 4, host
	switch e.Result {
	case unix.NFT_FIB_RESULT_OIF:
		f.Want = exposure.FibOutIndex
	case unix.NFT_FIB_RESULT_OIFNAME:
		f.Want, n, o = exposure.FibOutName, 16, network
	case unix.NFT_FIB_RESULT_ADDRTYPE:
		f.Want = exposure.FibType
	default:
		t.loadUnknown(e.Dreg, "fib", 16, true)
		return
	}
	if flags&fibPresent != 0 && f.Want != exposure.FibType {
		f.Want, n = exposure.FibExists, 1
	}
	if flags&^(fibSource|fibDest|fibMark|fibIn|fibOut|fibPresent) != 0 ||
		flags&(fibSource|fibDest) == fibSource|fibDest {
		t.loadUnknown(e.Dreg, "fib", n, true)
		return
	}
	t.load(e.Dreg, operand(exposure.Operand{Field: exposure.FieldFib, Fib: f}, n, o))
}

// exthdr reads IPv6 extension headers and the options of IPv4, TCP, SCTP and DCCP
// (net/netfilter/nft_exthdr.c). Writing one, or taking a TCP option away, changes nothing about the
// way; but the kernel ends the rule of a packet that isn't TCP.
func (t *translator) exthdr(e kernel.Exthdr) {
	op, kind := uint64(e.Op), uint64(e.Type)
	name := [...]string{"exthdr", "tcp option", "ip option", "sctp chunk", "dccp option"}[min(op, 4)]
	text := fmt.Sprintf("%s %d", name, kind)
	if op == 0 && kind < 256 {
		text = "exthdr " + strings.TrimPrefix(extensionName(uint8(kind)), "exthdr ")
	}
	if e.Dreg == 0 {
		if t.protocol != unix.IPPROTO_TCP {
			t.match(
				exposure.In(
					exposure.Of(exposure.FieldProtocol),
					exposure.One(exposure.Number(unix.IPPROTO_TCP)),
				),
			)
		}
		t.noEffect(text + " set")
		return
	}
	n := int(min(e.Len, 16))
	present := e.Flags&unix.NFT_EXTHDR_F_PRESENT != 0
	if present {
		n, text = 1, text+" exists"
	}
	base, ok := map[uint64]exposure.RawBase{0: exposure.RawExtension, 1: exposure.RawTCPOption, 2: exposure.RawIPOption}[op]
	if !ok || n == 0 || kind > 255 {
		if present { // of an SCTP chunk or a DCCP option
			o := unknown(text, 1)
			o.Max = exposure.Number(1)
			t.load(e.Dreg, operand(o, 1, network))
			return
		}
		t.loadUnknown(e.Dreg, text, max(n, 1), true)
		return
	}
	raw := exposure.Raw{
		Base:    base,
		Offset:  8 * int(min(e.Offset, 1<<16)),
		Bits:    8 * n,
		Header:  uint8(kind),
		Present: present,
	}
	if present {
		raw.Offset = 0
	}
	t.load(
		e.Dreg,
		operand(exposure.Operand{Field: exposure.FieldRaw, Raw: raw}, n, network),
	)
}

func (t *translator) rt(e kernel.RT) {
	key := e.Key
	n := 4
	switch key {
	case unix.NFT_RT_NEXTHOP6:
		n = 16
	case unix.NFT_RT_TCPMSS:
		n = 2
	case 4: // NFT_RT_XFRM
		n = 1
	}
	text := "rt"
	if key <= 4 {
		text = [...]string{"rt classid", "rt nexthop", "rt nexthop", "rt mtu", "rt ipsec"}[key]
	}
	t.loadUnknown(e.Dreg, text, n, true)
}

func (t *translator) socket(e kernel.Socket) {
	key := e.Key
	text, n := "socket", 4
	if key < 4 {
		text += [...]string{" transparent", " mark", " wildcard", " cgroupv2"}[key]
		n = [...]int{1, 4, 1, 8}[key]
	}
	t.loadUnknown(e.Dreg, text, n, true)
}

func (t *translator) numgen(e kernel.Numgen) {
	word := "inc"
	if e.Type == 1 { // NFT_NG_RANDOM
		word = "random"
	}
	t.number(e.Dreg, "numgen "+word, uint64(e.Modulus), uint64(e.Offset))
}

func (t *translator) hash(e kernel.Hash) {
	word := "jhash"
	if e.Type == 1 { // NFT_HASH_SYM
		word = "symhash"
	}
	t.number(e.Dreg, word, uint64(e.Modulus), uint64(e.Offset))
}

// number is an unknown from offset to offset + modulus − 1, in host order.
func (t *translator) number(to kernel.Register, text string, modulus, offset uint64) {
	text += fmt.Sprintf(" mod %d", modulus)
	if offset != 0 {
		text += fmt.Sprintf(" offset %d", offset)
	}
	o := unknown(text, 4)
	if last := modulus + offset - 1; modulus > 0 && modulus <= 1<<32 && offset <= 1<<32 &&
		last < 1<<32 {
		o.Max = exposure.Number(last)
		if modulus == 1 {
			o = exposure.Const(exposure.Number(offset))
		}
	}
	t.load(to, operand(o, 4, host))
}
