package nftables

// dataType is what nft notes about a set's columns: NFTA_SET_KEY_TYPE and NFTA_SET_DATA_TYPE hold
// six bits for each, the last column lowest. The kernel keeps these numbers for nft and doesn't
// look at them.
type dataType struct {
	name  string
	size  int // bytes; 0 if it varies
	order order
}

// dataTypes are enum datatypes of nft's include/datatype.h, by number.
var dataTypes = [...]dataType{
	0: {}, 1: {name: "verdict"}, 2: {"nf_proto", 1, network}, 3: {name: "bitmask"}, 4: {name: "integer"}, 5: {name: "string"},
	6: {
		name: "ll_addr",
	}, 7: {"ipv4_addr", 4, network}, 8: {"ipv6_addr", 16, network}, 9: {"ether_addr", 6, network},
	10: {
		"ether_type",
		2,
		network,
	}, 11: {"arp_op", 2, network}, 12: {"inet_proto", 1, network}, 13: {"inet_service", 2, network},
	14: {
		"icmp_type",
		1,
		network,
	}, 15: {"tcp_flag", 1, network}, 16: {"dccp_pkttype", 1, network}, 17: {"mh_type", 1, network},
	18: {
		"time",
		8,
		host,
	}, 19: {"mark", 4, host}, 20: {"iface_index", 4, host}, 21: {"iface_type", 2, host}, 22: {"realm", 4, host},
	23: {
		"classid",
		4,
		host,
	}, 24: {"uid", 4, host}, 25: {"gid", 4, host}, 26: {"ct_state", 4, host}, 27: {"ct_dir", 1, network},
	28: {
		"ct_status",
		4,
		host,
	}, 29: {"icmpv6_type", 1, network}, 30: {"ct_label", 16, host}, 31: {"pkt_type", 1, network},
	32: {
		"icmp_code",
		1,
		network,
	}, 33: {"icmpv6_code", 1, network}, 34: {"icmpx_code", 1, network}, 35: {"devgroup", 4, host},
	36: {
		"dscp",
		1,
		network,
	}, 37: {"ecn", 1, network}, 38: {"fib_addrtype", 4, host}, 39: {"boolean", 1, network},
	40: {
		"ct_event",
		4,
		host,
	}, 41: {"ifname", 16, network}, 42: {"igmp_type", 1, network}, 43: {"time", 8, host}, 44: {"hour", 4, host},
	45: {"day", 1, network}, 46: {"cgroupsv2", 8, host},
}

// typesOf takes a type apart; nil if it isn't one of nft's.
func typesOf(number uint32) []dataType {
	var out []dataType
	for ; number != 0; number >>= 6 {
		n := int(number & 0x3f)
		if n >= len(dataTypes) || dataTypes[n].name == "" {
			return nil
		}
		out = append([]dataType{dataTypes[n]}, out...)
	}
	return out
}

// column is some bytes of a set's key or of a map's data.
type column struct {
	at, n int
	order order
	name  string
}

// padded is the room that a column takes: in concatenations every column begins at a multiple of
// four bytes.
func padded(n int) int { return (n + 3) &^ 3 }

// layoutOf lays types out in length bytes, with the columns' own lengths if they are known
// (NFTA_SET_DESC_CONCAT); nil if they don't fit.
func layoutOf(types []dataType, lengths []int, length int) []column {
	if len(types) == 0 {
		types = []dataType{{name: "integer"}}
	}
	if len(types) == 1 {
		if length == 0 {
			length = types[0].size
		}
		return []column{{0, length, types[0].order, types[0].name}}
	}
	var out []column
	at := 0
	for i, t := range types {
		n := t.size
		if len(lengths) == len(types) {
			n = lengths[i]
		}
		if n == 0 || at+n > length {
			return nil
		}
		out = append(out, column{at, n, t.order, t.name})
		at += padded(n)
	}
	return out
}
