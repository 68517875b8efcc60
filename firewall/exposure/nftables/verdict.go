package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// Answers by their codes: ICMP_UNREACH (icmp.h), ICMPV6_DEST_UNREACH (icmpv6.h),
// NFT_REJECT_ICMPX_*.
var (
	icmpAnswers = map[uint64]string{
		0:  "net-unreachable",
		1:  "host-unreachable",
		2:  "prot-unreachable",
		3:  "port-unreachable",
		9:  "net-prohibited",
		10: "host-prohibited",
		13: "admin-prohibited",
	}
	icmpv6Answers = map[uint64]string{
		0: "no-route",
		1: "admin-prohibited",
		3: "addr-unreachable",
		4: "port-unreachable",
		5: "policy-fail",
		6: "reject-route",
	}
	icmpxAnswers = map[uint64]string{
		0: "no-route",
		1: "port-unreachable",
		2: "host-unreachable",
		3: "admin-prohibited",
	}
)

func (t *translator) reject(e kernel.Reject) {
	code := uint64(e.Code)
	with := fmt.Sprintf("answer %d", code)
	switch e.Type {
	case unix.NFT_REJECT_TCP_RST:
		with = "tcp reset"
	case unix.NFT_REJECT_ICMPX_UNREACH:
		with = "icmpx " + icmpxAnswers[code]
	case unix.NFT_REJECT_ICMP_UNREACH:
		with = "icmp " + icmpAnswers[code]
		if t.version == 6 {
			with = "icmpv6 " + icmpv6Answers[code]
		}
	}
	t.add(exposure.Verdict{Kind: exposure.VerdictReject, With: with})
}

func (t *translator) queue(e kernel.Queue) {
	with := fmt.Sprint(e.Num)
	switch {
	case e.Sreg != 0:
		with = "of a register"
	case e.Total > 1:
		with += fmt.Sprintf("-%d", uint32(e.Num)+uint32(e.Total)-1)
	}
	if e.Flags&1 != 0 { // NFT_QUEUE_FLAG_BYPASS
		with += " bypass"
	}
	t.add(exposure.Verdict{Kind: exposure.VerdictQueue, With: with})
}

// queueText is a queue in a verdict's code: the number in the upper half, bypass in bit 15
// (NF_VERDICT_FLAG_QUEUE_BYPASS).
func queueText(code uint32) string {
	if code&0xff != 3 { // NF_QUEUE
		return fmt.Sprintf("verdict %d", int32(code))
	}
	text := fmt.Sprint(code >> 16)
	if code&0x8000 != 0 {
		text += " bypass"
	}
	return text
}

// dup sends a copy; the packet itself goes on.
func (t *translator) dup(e kernel.Dup) {
	if e.Dev != 0 {
		t.noEffect("dup to " + t.deviceText(e.Dev))
		return
	}
	t.noEffect("dup")
}

// deviceText is the device whose index a register holds.
func (t *translator) deviceText(r kernel.Register) string {
	if at, ok := r.Offset(); ok {
		if v, ok := t.registers.one(at, 4, host).IsConst(); ok {
			n, _ := v.Uint64()
			return fmt.Sprintf("device %d", n)
		}
	}
	return "a device"
}

func (t *translator) log(e kernel.Log) {
	words := []string{"log"}
	if e.Prefix != "" {
		words = append(words, fmt.Sprintf("prefix %q", e.Prefix))
	}
	if e.Group.Set {
		words = append(words, fmt.Sprintf("group %d", e.Group.Value))
	}
	t.noEffect(strings.Join(words, " "))
}

// statusConfirmed is IPS_CONFIRMED (include/uapi/linux/netfilter/nf_conntrack_common.h): the
// connection's first packet has left the host's hooks.
const statusConfirmed = 1 << 3

// flowOffload hands an established connection to a flowtable. Of any other packet, a first one
// always, the kernel ends the rule (nft_flow_offload_eval in net/netfilter/nft_flow_offload.c).
func (t *translator) flowOffload(e kernel.FlowOffload) {
	t.noEffect("flow add @" + e.Table)
	t.match(exposure.AnyBit(exposure.FieldCTStatus, statusConfirmed))
}
