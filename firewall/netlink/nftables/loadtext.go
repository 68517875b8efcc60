package nftables

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// What expressions load into registers, in the words of nft.

func ctValue(e CT) value {
	v, ok := ctKeys[e.Key]
	if !ok {
		v = value{text: fmt.Sprintf("key %d", e.Key)}
	}
	v.text = "ct " + v.text
	if e.Direction.Set {
		v.text = "ct " + word(directions, uint64(e.Direction.Value)) + v.text[len("ct"):]
	}
	return v
}

func fibValue(e FIB) value {
	var keys []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{
		{unix.NFTA_FIB_F_SADDR, "saddr"},
		{unix.NFTA_FIB_F_DADDR, "daddr"},
		{unix.NFTA_FIB_F_MARK, "mark"},
		{unix.NFTA_FIB_F_IIF, "iif"},
		{unix.NFTA_FIB_F_OIF, "oif"},
	} {
		if e.Flags&f.bit != 0 {
			keys = append(keys, f.name)
		}
	}
	text := "fib " + strings.Join(keys, " . ")
	switch {
	case e.Result == unix.NFT_FIB_RESULT_ADDRTYPE:
		return value{text: text + " type", kind: kindRoute, size: 4}
	case e.Result == unix.NFT_FIB_RESULT_OIFNAME:
		return value{text: text + " oifname", kind: kindName, size: 16}
	case e.Flags&unix.NFTA_FIB_F_PRESENT != 0:
		return value{text: text + " oif", kind: kindExists, size: 1}
	}
	return value{text: text + " oif", kind: kindHost, size: 4}
}

// extensionHeaders are nft's names by number, tcpOptions too.
var (
	extensionHeaders = map[uint64]string{0: "hbh", 43: "rt", 44: "frag", 60: "dst", 135: "mh"}
	tcpOptions       = map[uint64]string{2: "maxseg", 3: "window", 4: "sack-perm", 5: "sack",
		8: "timestamp"}
)

func (w *writer) exthdr(e Exthdr) {
	text := word([]string{"exthdr", "tcp option", "ip option", "sctp chunk", "dccp option"},
		uint64(e.Op)) + " "
	says := context{}
	switch e.Op {
	case 0:
		text += named(extensionHeaders, uint64(e.Type), "%d")
		says.version = 6
	case 1:
		text += named(tcpOptions, uint64(e.Type), "%d")
	default:
		text += fmt.Sprint(e.Type)
	}
	switch {
	case e.Flags&unix.NFT_EXTHDR_F_PRESENT != 0:
		w.load(e.Dreg, value{text: text, kind: kindExists, size: 1, says: says})
	case e.Dreg == 0 && e.Sreg == 0:
		w.statement("reset " + text)
	case e.Op == 1 && e.Type == 2 && e.Offset == 2 && e.Len == 2:
		w.loadOrSet(e.Dreg, e.Sreg, value{text: text + " size", kind: kindNumber, size: 2})
	default:
		v := value{text: fmt.Sprintf("%s @%d,%d", text, 8*uint64(e.Offset), 8*uint64(e.Len)),
			kind: kindNumber,
			size: int(min(e.Len, registerBytes)), says: says}
		w.loadOrSet(e.Dreg, e.Sreg, v)
	}
}

func rtValue(e RT) value {
	switch e.Key {
	case unix.NFT_RT_CLASSID:
		return value{text: "rt classid", kind: kindHost, size: 4}
	case unix.NFT_RT_NEXTHOP4:
		return value{text: "rt ip nexthop", kind: kindIPv4, size: 4}
	case unix.NFT_RT_NEXTHOP6:
		return value{text: "rt ip6 nexthop", kind: kindIPv6, size: 16}
	case unix.NFT_RT_TCPMSS:
		return value{text: "rt mtu", kind: kindHost, size: 2}
	}
	return value{text: fmt.Sprintf("rt key %d", e.Key), size: 4}
}

func socketValue(e Socket) value {
	v := value{text: "socket " + word([]string{"transparent", "mark", "wildcard"}, uint64(e.Key)),
		kind: kindNumber, size: 1}
	switch e.Key {
	case 1:
		v.kind, v.size = kindMark, 4
	case 3: // NFT_SOCKET_CGROUPV2
		v = value{text: fmt.Sprintf("socket cgroupv2 level %d", e.Level), kind: kindHost, size: 8}
	}
	return v
}

func (w *writer) hash(e Hash) value {
	if e.Type == 1 { // NFT_HASH_SYM
		return generated("symhash", e.Modulus, e.Offset)
	}
	key, says, _ := w.key(e.Sreg)
	v := generated("jhash "+key, e.Modulus, 0)
	v.says = says
	if e.Seed != 0 {
		v.text += fmt.Sprintf(" seed 0x%x", e.Seed)
	}
	if e.Offset != 0 {
		v.text += fmt.Sprintf(" offset %d", e.Offset)
	}
	return v
}

// generated is a number below a modulus.
func generated(what string, modulus, offset uint32) value {
	text := fmt.Sprintf("%s mod %d", what, modulus)
	if offset != 0 {
		text += fmt.Sprintf(" offset %d", offset)
	}
	return value{text: text, kind: kindHost, size: 4}
}

// turned is the kind of a number whose bytes were turned around: nft does so to compare numbers in
// the host's order by size.
func turned(k kind) kind {
	if k.hostOrder() {
		return kindNumber
	}
	return k
}
