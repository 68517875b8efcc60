package nftables

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// expr writes what an expression does, or notes what it loads.
func (w *writer) expr(e Expr) {
	switch e := e.(type) {
	case Meta:
		v, ok := metaKeys[e.Key]
		if !ok {
			v = value{text: fmt.Sprintf("meta key %d", e.Key)}
		}
		v.ofPacket = true
		if interfaceKeys[e.Key] {
			v.interfaces = w.naming.Interface
		}
		w.loadOrSet(e.Dreg, e.Sreg, v)
	case CT:
		w.loadOrSet(e.Dreg, e.Sreg, ctValue(e))
	case Payload:
		fields := w.fields(e)
		v := fields[0]
		if v.rest = fields[1:]; len(v.rest) > 0 && e.Sreg != 0 {
			v = v.whole()
		}
		w.loadOrSet(e.Dreg, e.Sreg, v)
	case FIB:
		v := fibValue(e)
		if e.Result == unix.NFT_FIB_RESULT_OIF && v.kind == kindHost {
			v.interfaces = w.naming.Interface
		}
		w.load(e.Dreg, v)
	case Exthdr:
		w.exthdr(e)
	case RT:
		w.load(e.Dreg, rtValue(e))
	case Socket:
		w.load(e.Dreg, socketValue(e))
	case OSF:
		w.load(e.Dreg, value{text: "osf name", kind: kindName, size: 16})
	case XFRM:
		way := word([]string{"in", "out"}, uint64(e.Direction))
		w.load(e.Dreg, value{text: fmt.Sprintf("ipsec %s key %d", way, e.Key), size: 4})
	case Tunnel:
		w.load(e.Dreg, value{text: fmt.Sprintf("tunnel key %d", e.Key), size: 4})
	case Numgen:
		what := "numgen " + word([]string{"inc", "random"}, uint64(e.Type))
		w.load(e.Dreg, generated(what, e.Modulus, e.Offset))
	case Hash:
		w.load(e.Dreg, w.hash(e))
	case Immediate:
		if e.Dreg == RegVerdict {
			w.statement(e.Verdict.String())
			return
		}
		w.load(e.Dreg, value{constant: e.Data, size: len(e.Data)})
	case Bitwise:
		w.bitwise(e)
	case Byteorder:
		v := *w.read(e.Sreg)
		v.was, v.kind, v.used = v.kind, turned(v.kind), false
		w.load(e.Dreg, v)
	case Cmp:
		w.compare(e)
	case Range:
		w.inRange(e)
	case Lookup:
		w.lookup(e)
	case Dynset:
		w.dynset(e)
	case NAT:
		what := word([]string{"snat", "dnat"}, uint64(e.Type))
		if uint32(w.family) != e.Family {
			what += " " + named(familyNames, uint64(e.Family), "family %d")
		}
		to := w.target(natKind(e.Family), e.AddrMin, e.AddrMax, e.ProtoMin, e.ProtoMax)
		w.statement(what + to + natFlags(e.Flags))
	case Masquerade:
		to := w.target(kindBytes, 0, 0, e.ProtoMin, e.ProtoMax)
		w.statement("masquerade" + to + natFlags(e.Flags))
	case Redirect:
		to := w.target(kindBytes, 0, 0, e.ProtoMin, e.ProtoMax)
		w.statement("redirect" + to + natFlags(e.Flags))
	case TProxy:
		family := ""
		if e.Addr != 0 {
			family = " " + named(familyNames, uint64(e.Family), "family %d")
		}
		w.statement("tproxy" + family + w.target(natKind(e.Family), e.Addr, 0, e.Port, 0))
	case Dup:
		text := "dup to " + w.operand(kindBytes, e.Addr)
		if e.Dev != 0 {
			text += " device " + w.device(e.Dev)
		}
		w.statement(text)
	case Forward:
		text := "fwd to " + w.device(e.Dev)
		if e.Addr != 0 {
			family := named(familyNames, uint64(e.Family), "family %d")
			to := w.operand(natKind(e.Family), e.Addr)
			text = "fwd " + family + " to " + to + " device " + w.device(e.Dev)
		}
		w.statement(text)
	case Queue:
		w.statement(w.queue(e))
	case Reject:
		says := context{}
		if e.Type == unix.NFT_REJECT_TCP_RST && w.family != unix.NFPROTO_INET {
			says.protocol = unix.IPPROTO_TCP
		}
		w.clause(w.reject(e), says)
	case Objref:
		what := word(objectTypes, uint64(e.Type))
		if e.Set != "" {
			key, says, _ := w.key(e.Sreg)
			w.clause(fmt.Sprintf("%s name %s map %s", what, key, w.set(e.Set)), says)
			return
		}
		w.statement(fmt.Sprintf("%s name %q", what, e.Object))
	default:
		w.statement(condition(e))
	}
}

var familyNames = map[uint64]string{unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6",
	unix.NFPROTO_INET: "inet"}

// objectTypes are nft's words for NFT_OBJECT_*.
var objectTypes = []string{1: "counter", 2: "quota", 3: "ct helper", 4: "limit", 5: "ct count",
	6: "tunnel", 7: "ct timeout", 8: "secmark", 9: "ct expectation", 10: "synproxy"}

// loadOrSet is an expression that loads a value, or sets it from a register.
func (w *writer) loadOrSet(dreg, sreg Register, v value) {
	if sreg == 0 {
		w.load(dreg, v)
		return
	}
	w.clause(v.name()+" set "+w.operand(v.kind, sreg), v.says)
}

// operand is what a register holds, in a statement that takes a value of a kind.
func (w *writer) operand(k kind, r Register) string {
	v := *w.read(r)
	if v.text == "" {
		v.kind = k
		if len(v.constant) == 16 && k == kindBytes || len(v.constant) == 16 && k == kindIPv4 {
			v.kind = kindIPv6
		}
	}
	return v.name()
}

// device is the interface whose index a register holds.
func (w *writer) device(r Register) string {
	v := *w.read(r)
	if v.text == "" {
		v.kind, v.interfaces = kindHost, w.naming.Interface
	}
	return v.name()
}

// interfaceKeys are the keys of Meta that are indexes of interfaces.
var interfaceKeys = map[uint32]bool{
	unix.NFT_META_IIF: true, unix.NFT_META_OIF: true, 33: true, // NFT_META_SDIF
}

// target is where a translation leads: " to 192.0.2.1:80".
func (w *writer) target(k kind, addrMin, addrMax, protoMin, protoMax Register) string {
	if addrMin == 0 && protoMin == 0 {
		return ""
	}
	text := " to "
	if addrMin != 0 {
		addr := w.operand(k, addrMin)
		if addrMax != 0 && addrMax != addrMin {
			addr += "-" + w.operand(k, addrMax)
		}
		if k == kindIPv6 && protoMin != 0 {
			addr = "[" + addr + "]"
		}
		text += addr
	}
	if protoMin != 0 {
		text += ":" + w.operand(kindNumber, protoMin)
		if protoMax != 0 && protoMax != protoMin {
			text += "-" + w.operand(kindNumber, protoMax)
		}
	}
	return text
}

func natKind(family uint32) kind {
	if family == unix.NFPROTO_IPV6 {
		return kindIPv6
	}
	return kindIPv4
}

// natFlags are the words for NF_NAT_RANGE_* (include/uapi/linux/netfilter/nf_nat.h) that aren't
// said otherwise.
func natFlags(flags uint32) string {
	var words []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{
		{unix.NF_NAT_RANGE_PROTO_RANDOM, "random"},
		{unix.NF_NAT_RANGE_PROTO_RANDOM_FULLY, "fully-random"},
		{unix.NF_NAT_RANGE_PERSISTENT, "persistent"},
	} {
		if flags&f.bit != 0 {
			words = append(words, f.name)
		}
	}
	if len(words) == 0 {
		return ""
	}
	return " " + strings.Join(words, ",")
}

func (w *writer) queue(e Queue) string {
	var flags []string
	for i, name := range []string{"bypass", "fanout"} { // NFT_QUEUE_FLAG_*
		if e.Flags&(1<<i) != 0 {
			flags = append(flags, name)
		}
	}
	text := "queue"
	if len(flags) > 0 {
		text += " flags " + strings.Join(flags, ",")
	}
	switch {
	case e.Sreg != 0:
		return text + " to " + w.operand(kindNumber, e.Sreg)
	case e.Total > 1:
		return fmt.Sprintf("%s to %d-%d", text, e.Num, uint32(e.Num)+uint32(e.Total)-1)
	}
	return fmt.Sprintf("%s to %d", text, e.Num)
}

// condition is an expression that uses no register.
func condition(e Expr) string {
	switch e := e.(type) {
	case Counter:
		return "counter"
	case Limit:
		return limitText(e)
	case Quota:
		return fmt.Sprintf("quota %s%d bytes", over(e.Flags), e.Bytes)
	case Connlimit:
		return fmt.Sprintf("ct count %s%d", over(e.Flags), e.Count)
	case Last:
		return "last"
	case Log:
		return logText(e)
	case Notrack:
		return "notrack"
	case FlowOffload:
		return "flow add @" + e.Table
	case Synproxy:
		return fmt.Sprintf("synproxy mss %d wscale %d", e.MSS, e.WScale)
	case XTMatch:
		return fmt.Sprintf("xt match %q", e.Match)
	case XTTarget:
		return fmt.Sprintf("xt target %q", e.Target)
	case Unknown:
		if e.Kind == "" {
			return fmt.Sprintf("unreadable expression (%d bytes)", len(e.Data))
		}
		return fmt.Sprintf("unknown expression %q (%d bytes)", e.Kind, len(e.Data))
	}
	return fmt.Sprintf("expression %q", e.Name())
}

// over is the word for what goes on only beyond a bound: NFT_LIMIT_F_INV, NFT_QUOTA_F_INV,
// NFT_CONNLIMIT_F_INV are all 1.
func over(flags uint32) string {
	if flags&1 != 0 {
		return "over "
	}
	return ""
}

// rateUnits are the words for spans of a rate, in seconds.
var rateUnits = map[uint64]string{1: "second", 60: "minute", 3600: "hour", 86400: "day",
	604800: "week"}

func limitText(e Limit) string {
	unit := named(rateUnits, e.Unit, "%d seconds")
	rate, burst := fmt.Sprint(e.Rate), "packets"
	if e.Type == unix.NFT_LIMIT_PKT_BYTES {
		rate, burst = rate+" bytes", "bytes"
	}
	text := fmt.Sprintf("limit rate %s%s/%s", over(e.Flags), rate, unit)
	if e.Burst != 0 {
		text += fmt.Sprintf(" burst %d %s", e.Burst, burst)
	}
	return text
}

// warning is the level of a line whose level nobody named (LOGLEVEL_WARNING).
const warning = 4

// logLevels are those of syslog, by number.
var logLevels = []string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug",
	"audit"}

// logFlags are the words for NF_LOG_* (include/uapi/linux/netfilter/nf_log.h).
var logFlags = []string{"tcp sequence", "tcp options", "ip options", "skuid", "", "ether"}

func logText(e Log) string {
	text := "log"
	if e.Prefix != "" {
		text += fmt.Sprintf(" prefix %q", e.Prefix)
	}
	if e.Group.Set {
		text += fmt.Sprintf(" group %d", e.Group.Value)
	}
	if e.Snaplen != 0 {
		text += fmt.Sprintf(" snaplen %d", e.Snaplen)
	}
	if e.QueueThreshold != 0 {
		text += fmt.Sprintf(" queue-threshold %d", e.QueueThreshold)
	}
	if e.Level.Set && e.Level.Value != warning {
		text += " level " + word(logLevels, uint64(e.Level.Value))
	}
	for i, name := range logFlags {
		if e.Flags&(1<<i) != 0 && name != "" {
			text += " flags " + name
		}
	}
	return text
}

// Codes of Reject by number (include/uapi/linux/icmp.h, icmpv6.h; enum nft_reject_inet_code).
var (
	unreachable4 = []string{0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable",
		3: "port-unreachable",
		9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"}
	unreachable6 = []string{0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable",
		4: "port-unreachable", 5: "policy-fail", 6: "reject-route"}
	unreachableAny = []string{
		"no-route",
		"port-unreachable",
		"host-unreachable",
		"admin-prohibited",
	}
)

// reject is what is answered. nft leaves out that a port is unreachable, where both IP versions get
// that answer or the table has one.
func (w *writer) reject(e Reject) string {
	kind, codes, short := "icmp", unreachable4, w.family == unix.NFPROTO_IPV4
	switch {
	case e.Type == unix.NFT_REJECT_TCP_RST:
		return "reject with tcp reset"
	case e.Type == unix.NFT_REJECT_ICMPX_UNREACH:
		kind, codes, short = "icmpx", unreachableAny, true
	case w.version == 6:
		kind, codes, short = "icmpv6", unreachable6, w.family == unix.NFPROTO_IPV6
	}
	if code := word(codes, uint64(e.Code)); code != "port-unreachable" || !short {
		return "reject with " + kind + " " + code
	}
	return "reject"
}
