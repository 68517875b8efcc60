package nftables

import "fmt"

// bitPart is a field of a header that is no whole byte: some bits of a load.
type bitPart struct {
	version    int
	load, mask string
	shift      int
	name       string
	words      map[uint64]string
}

var bitParts = []bitPart{
	{4, "@nh,0,8", "\xf0", 4, "ip version", nil},
	{4, "@nh,0,8", "\x0f", 0, "ip hdrlength", nil},
	{4, "@nh,8,8", "\xfc", 2, "ip dscp", dscpNames},
	{4, "@nh,8,8", "\x03", 0, "ip ecn", ecnNames},
	{6, "@nh,0,16", "\x0f\xc0", 6, "ip6 dscp", dscpNames},
	{6, "@nh,8,8", "\x30", 4, "ip6 ecn", ecnNames},
}

// nft's words for classes of traffic (RFC 2474, 2597, 3246, 3168; nftables, src/datatype.c).
var (
	dscpNames = map[uint64]string{0: "cs0", 8: "cs1", 16: "cs2", 24: "cs3", 32: "cs4", 40: "cs5",
		48: "cs6", 56: "cs7", 10: "af11", 12: "af12", 14: "af13", 18: "af21", 20: "af22", 22: "af23",
		26: "af31", 28: "af32", 30: "af33", 34: "af41", 36: "af42", 38: "af43", 46: "ef"}
	ecnNames = map[uint64]string{0: "not-ect", 1: "ect1", 2: "ect0", 3: "ce"}
)

// partMatched is a comparison of such a field in words; "" if the value is none.
func (v *value) partMatched(equal bool, data string) string {
	for _, p := range bitParts {
		if p.load != v.text || p.mask != v.mask || p.version != v.says.version {
			continue
		}
		n, ok := kindNumber.number(data)
		if !ok {
			return ""
		}
		n >>= p.shift
		text := fmt.Sprint(n)
		if p.words != nil {
			text = named(p.words, n, "0x%02x")
		}
		if !equal {
			return p.name + " != " + text
		}
		return p.name + " " + text
	}
	return ""
}
