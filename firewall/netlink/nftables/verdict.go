package nftables

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Verdict is what becomes of a packet. The zero Verdict drops it.
type Verdict struct {
	Code  int32  // NF_*, NFT_GOTO, …
	Chain string // of a jump or a goto
}

// Codes of verdicts that x/sys/unix lacks (include/uapi/linux/netfilter.h).
const (
	CodeDrop   = 0 // NF_DROP
	CodeAccept = 1 // NF_ACCEPT
	CodeQueue  = 3 // NF_QUEUE, with the queue's number in the upper half
)

// DecodeVerdict reads what NFTA_DATA_VERDICT holds; false if that is no verdict.
func DecodeVerdict(b []byte) (Verdict, bool) {
	var c codec
	c.parse(b)
	var code uint32
	var v Verdict
	c.u32(unix.NFTA_VERDICT_CODE, &code)
	c.text(unix.NFTA_VERDICT_CHAIN, &v.Chain)
	v.Code = int32(code)
	return v, c.fits()
}

// Append writes NFTA_DATA_VERDICT.
func (v Verdict) Append(b []byte) []byte {
	c := codec{writing: true, out: b}
	at := c.nest(unix.NFTA_DATA_VERDICT)
	code := uint32(v.Code)
	c.u32(unix.NFTA_VERDICT_CODE, &code)
	c.text(unix.NFTA_VERDICT_CHAIN, &v.Chain)
	c.unnest(at)
	return c.out
}

// String is how nft writes the verdict.
func (v Verdict) String() string {
	switch v.Code {
	case unix.NFT_GOTO:
		return "goto " + v.Chain
	case unix.NFT_JUMP:
		return "jump " + v.Chain
	case unix.NFT_RETURN:
		return "return"
	case unix.NFT_CONTINUE:
		return "continue"
	case unix.NFT_BREAK:
		return "break"
	case CodeDrop:
		return "drop"
	case CodeAccept:
		return "accept"
	}
	if v.Code&0xff == CodeQueue {
		return fmt.Sprintf("queue to %d", uint32(v.Code)>>16)
	}
	return fmt.Sprintf("verdict %d", v.Code)
}
