package nftjson

import (
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iana"
)

// widths are the kinds of values that we know, nft's datatypes, and their bits.
var widths = map[string]int{
	"ipv4_addr": 32, "ipv6_addr": 128, "inet_service": 16, "inet_proto": 8, "mark": 32,
	"ifname": 128, "iface_index": 128, "ether_addr": 48,
	"ether_type": 16, "nf_proto": 8, "pkt_type": 8, "ct_state": 32, "ct_status": 32, "ct_dir": 8,
	"fib_addrtype": 32, "icmp_type": 8,
	"icmp_code": 8, "icmpv6_type": 8, "icmpv6_code": 8, "tcp_flag": 8, "devgroup": 32,
	"integer": 128, "boolean": 8, "dscp": 6, "ecn": 2,
	"dccp_pkttype": 4, "": 128,
}

// bitmasks are the kinds for which a list means an or.
var bitmasks = map[string]bool{
	"ct_state":  true,
	"ct_status": true,
	"ct_label":  true,
	"tcp_flag":  true,
}

// symbols are the names that nft prints for numbers (the symbol tables of src/ct.c, meta.c,
// proto.c, fib.c, rt.c of nftables).
var symbols = map[string]map[string]uint64{
	"ct_state": {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64},
	"ct_status": {
		"expected":   1,
		"seen-reply": 2,
		"assured":    4,
		"confirmed":  8,
		"snat":       16,
		"dnat":       32,
		"seqadj":     64,
		"snat-done":  128,
		"dnat-done":  256,
		"dying":      512,
		"helper":     1 << 13,
		"offload":    1 << 14,
	},
	"ct_dir": {"original": 0, "reply": 1},
	"tcp_flag": {
		"fin": 1,
		"syn": 2,
		"rst": 4,
		"psh": 8,
		"ack": 16,
		"urg": 32,
		"ecn": 64,
		"cwr": 128,
	},
	"pkt_type": {"unicast": 0, "host": 0, "broadcast": 1, "multicast": 2, "other": 3},
	"nf_proto": {"ipv4": 2, "ipv6": 10},
	"ether_type": {
		"ip":     0x0800,
		"arp":    0x0806,
		"ip6":    0x86dd,
		"vlan":   0x8100,
		"8021q":  0x8100,
		"8021ad": 0x88a8,
	},
	"fib_addrtype": {
		"unspec":      0,
		"unicast":     1,
		"local":       2,
		"broadcast":   3,
		"anycast":     4,
		"multicast":   5,
		"blackhole":   6,
		"unreachable": 7,
		"prohibit":    8,
	},
	"devgroup": {"default": 0},
	"boolean":  {"exists": 1, "missing": 0},
	"icmp_code": {
		"net-unreachable":  0,
		"host-unreachable": 1,
		"prot-unreachable": 2,
		"port-unreachable": 3,
		"frag-needed":      4,
		"net-prohibited":   9,
		"host-prohibited":  10,
		"admin-prohibited": 13,
	},
	"icmpv6_code": {
		"no-route":         0,
		"admin-prohibited": 1,
		"addr-unreachable": 3,
		"port-unreachable": 4,
		"policy-fail":      5,
		"reject-route":     6,
	},
	"dscp": {
		"cs0":   0,
		"cs1":   8,
		"cs2":   16,
		"cs3":   24,
		"cs4":   32,
		"cs5":   40,
		"cs6":   48,
		"cs7":   56,
		"df":    0,
		"be":    0,
		"lephb": 1,
		"af11":  10,
		"af12":  12,
		"af13":  14,
		"af21":  18,
		"af22":  20,
		"af23":  22,
		"af31":  26,
		"af32":  28,
		"af33":  30,
		"af41":  34,
		"af42":  36,
		"af43":  38,
		"va":    44,
		"ef":    46,
	},
	"ecn": {"not-ect": 0, "ect1": 1, "ect0": 2, "ce": 3},
}

// Word is a value in nft's text, without quotes: a number, a name, an address, a prefix, or a
// range. Its meaning depends on the other side of the comparison: "ftp-data" is a port, "ftp-ssh" a
// range of two.
type Word string

// constant reads a value of a kind; with "", the value's form decides. It is false for other values
// and unknown names.
func constant(kind string, v any) (exposure.Value, bool) {
	switch v := v.(type) {
	case json.Number:
		return number(kind, v.String())
	case bool:
		if v {
			return exposure.Number(1), kind == "boolean" || kind == ""
		}
		return exposure.Value{}, kind == "boolean" || kind == ""
	case string:
		return textConstant(kind, v)
	case Word:
		return textConstant(kind, string(v))
	case []any:
		if bitmasks[kind] {
			return combined(kind, "|", v)
		}
	case map[string]any:
		for op, args := range v {
			if list, ok := args.([]any); ok && len(v) == 1 {
				return combined(kind, op, list)
			}
		}
	}
	return exposure.Value{}, false
}

// number reads a number. It refuses interfaces, which are compared by name.
func number(kind, s string) (exposure.Value, bool) {
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil || kind == "ifname" || kind == "iface_index" {
		return exposure.Value{}, false
	}
	if kind == "ct_label" { // nft prints a bit's number, or its name from a file of the host
		return exposure.LabelBit(int(min(n, 128))), n < 128
	}
	v := exposure.Number(n)
	return v, v.Compare(exposure.Ones(widthOf(kind))) <= 0
}

func widthOf(kind string) int {
	if w, ok := widths[kind]; ok {
		return w
	}
	return 128
}

// textConstant reads a value that is printed as text.
func textConstant(kind, s string) (exposure.Value, bool) {
	switch kind {
	case "ipv4_addr", "ipv6_addr", "":
		a, err := netip.ParseAddr(s)
		if err == nil && a.Zone() == "" && (kind == "" || a.Is4() == (kind == "ipv4_addr")) {
			return exposure.Address(a), true
		}
		if kind != "" {
			return exposure.Value{}, false
		}
	case "ifname", "iface_index":
		return exposure.Name(s), s != "" && len(s) <= 15
	case "ether_addr":
		hw, err := net.ParseMAC(s)
		if err != nil || len(hw) != 6 {
			return exposure.Value{}, false
		}
		return exposure.Bytes(hw)
	case "inet_proto":
		n, ok := iana.Protocol(s)
		return exposure.Number(uint64(n)), ok
	case "inet_service":
		n, ok := iana.Service(s)
		return exposure.Number(uint64(n)), ok
	case "icmp_type", "icmpv6_type":
		m, ok := iana.ICMP[s]
		if kind == "icmpv6_type" {
			m, ok = iana.ICMPv6[s]
		}
		if ok {
			return exposure.Number(uint64(m.Type)), true
		}
	}
	if n, ok := symbols[kind][s]; ok {
		return exposure.Number(n), true
	}
	return number(kind, s)
}

// combined computes an operation of constants.
func combined(kind, op string, list []any) (exposure.Value, bool) {
	var out exposure.Value
	for i, x := range list {
		k := kind
		if i > 0 && (op == "<<" || op == ">>") {
			k = ""
		}
		v, ok := constant(k, x)
		if !ok {
			return exposure.Value{}, false
		}
		n, small := v.Uint64()
		switch {
		case i == 0:
			out = v
		case op == "|":
			out = out.Or(v)
		case op == "&":
			out = out.And(v)
		case op == "^":
			out = out.Xor(v)
		case op == "<<" && small && n < 128:
			out = out.Shift(int(n)).And(exposure.Ones(widthOf(kind)))
		case op == ">>" && small && n < 128:
			out = out.Shift(-int(n))
		default:
			return exposure.Value{}, false
		}
	}
	return out, len(list) > 0
}

// rangeOf reads a value, a prefix, a range, or a name that ends in "*". For several ranges see set.
func rangeOf(kind string, v any) (exposure.Range, bool) {
	if w, ok := v.(Word); ok && kind != "ifname" {
		return wordRange(kind, string(w))
	} else if ok {
		v = string(w)
	}
	if s, ok := v.(string); ok && kind == "ifname" {
		if stem, wild := strings.CutSuffix(s, "*"); wild && !strings.HasSuffix(stem, `\`) {
			return exposure.NamePrefix(stem), len(stem) <= 15
		}
		v = strings.ReplaceAll(s, `\*`, "*")
	}
	if m, ok := v.(map[string]any); ok {
		if p, ok := m["prefix"].(map[string]any); ok {
			return prefixOf(kind, p)
		}
		if ends, ok := m["range"].([]any); ok {
			if len(ends) != 2 {
				return exposure.Range{}, false
			}
			from, ok1 := constant(kind, ends[0])
			to, ok2 := constant(kind, ends[1])
			return exposure.Range{From: from, To: to}, ok1 && ok2 && from.Compare(to) <= 0
		}
	}
	c, ok := constant(kind, v)
	return exposure.One(c), ok
}

// longestWord bounds a range in one word; an address has 39 characters.
const longestWord = 128

// wordRange reads a value, a prefix or a range from one word.
func wordRange(kind, s string) (exposure.Range, bool) {
	if c, ok := textConstant(kind, s); ok {
		return exposure.One(c), true
	}
	if addr, length, ok := strings.Cut(s, "/"); ok {
		return prefixOf(kind, map[string]any{"addr": addr, "len": json.Number(length)})
	}
	if len(s) > longestWord {
		return exposure.Range{}, false
	}
	for i := range len(s) {
		if s[i] != '-' {
			continue
		}
		from, ok1 := textConstant(kind, s[:i])
		to, ok2 := textConstant(kind, s[i+1:])
		if ok1 && ok2 {
			return exposure.Range{From: from, To: to}, from.Compare(to) <= 0
		}
	}
	return exposure.Range{}, false
}

func prefixOf(kind string, p map[string]any) (exposure.Range, bool) {
	from, ok := constant(kind, p["addr"])
	length, isNumber := p["len"].(json.Number)
	n, err := strconv.Atoi(length.String())
	width, known := widths[kind]
	if s, isText := p["addr"].(string); isText && kind == "" {
		if a, err := netip.ParseAddr(s); err == nil {
			width = a.BitLen()
		}
	}
	if !ok || !known || !isNumber || err != nil || n < 0 || n > width || kind == "integer" {
		return exposure.Range{}, false
	}
	host := exposure.Ones(width - n)
	return exposure.Range{From: from.AndNot(host), To: from.Or(host)}, true
}
