package nftables

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Answers by their codes: ICMP_UNREACH (icmp.h), ICMPV6_DEST_UNREACH (icmpv6.h), NFT_REJECT_ICMPX_*.
var (
	icmpAnswers = map[uint64]string{0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable",
		9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited"}
	icmpv6Answers = map[uint64]string{0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail",
		6: "reject-route"}
	icmpxAnswers = map[uint64]string{0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"}
)

func (t *translator) reject(a *netlink.Attributes) {
	code := a.Number(unix.NFTA_REJECT_ICMP_CODE)
	with := fmt.Sprintf("answer %d", code)
	switch a.Number(unix.NFTA_REJECT_TYPE) {
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

// queue: NFTA_QUEUE_NUM 1, NFTA_QUEUE_TOTAL 2, NFTA_QUEUE_FLAGS 3, NFTA_QUEUE_SREG_QNUM 4.
func (t *translator) queue(a *netlink.Attributes) {
	with := fmt.Sprint(a.Number(1))
	switch total := a.Number(2); {
	case a.Has(4):
		with = "of a register"
	case total > 1:
		with += fmt.Sprintf("-%d", a.Number(1)+total-1)
	}
	if a.Number(3)&1 != 0 { // NFT_QUEUE_FLAG_BYPASS
		with += " bypass"
	}
	t.add(exposure.Verdict{Kind: exposure.VerdictQueue, With: with})
}

// queueText is a queue in a verdict's code: the number in the upper half, bypass in bit 15 (NF_VERDICT_FLAG_QUEUE_BYPASS).
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

// forward is fwd: the packet goes out of another device at once.
func (t *translator) forward(a *netlink.Attributes) {
	t.add(exposure.Verdict{Kind: exposure.VerdictStolen, With: "fwd to " + t.deviceText(a, unix.NFTA_FWD_SREG_DEV)})
}

// dup sends a copy; the packet itself goes on.
func (t *translator) dup(a *netlink.Attributes) {
	if a.Has(unix.NFTA_DUP_SREG_DEV) {
		t.noEffect("dup to " + t.deviceText(a, unix.NFTA_DUP_SREG_DEV))
		return
	}
	t.noEffect("dup")
}

// deviceText is the device whose index a register holds.
func (t *translator) deviceText(a *netlink.Attributes, register int) string {
	if at, ok := offsetOf(a.Number(register)); ok {
		if v, ok := t.registers.one(at, 4, host).IsConst(); ok {
			n, _ := v.Uint64()
			return fmt.Sprintf("device %d", n)
		}
	}
	return "a device"
}

func (t *translator) notrack(*netlink.Attributes) { t.add(exposure.NoTrack{}) }

func (t *translator) log(a *netlink.Attributes) {
	words := []string{"log"}
	if p := a.String(unix.NFTA_LOG_PREFIX); p != "" {
		words = append(words, fmt.Sprintf("prefix %q", p))
	}
	if a.Has(unix.NFTA_LOG_GROUP) {
		words = append(words, fmt.Sprintf("group %d", a.Number(unix.NFTA_LOG_GROUP)))
	}
	t.noEffect(strings.Join(words, " "))
}

func (t *translator) counter(*netlink.Attributes) { t.noEffect("counter") }
func (t *translator) last(*netlink.Attributes)    { t.noEffect("last") }

// condition is an expression that ends the rule or not by what happened before.
func condition(name string) func(*translator, *netlink.Attributes) {
	return func(t *translator, a *netlink.Attributes) {
		text, _ := conditionText(name, a)
		t.add(exposure.Unknown{Text: text, Rate: rateOf(name, a)})
	}
}

// statusConfirmed is IPS_CONFIRMED (include/uapi/linux/netfilter/nf_conntrack_common.h): the connection's first packet has left the host's hooks.
const statusConfirmed = 1 << 3

// flowTableName is NFTA_FLOW_TABLE_NAME.
const flowTableName = 1

// flowOffload hands an established connection to a flowtable. Of any other packet, a first one always, the kernel ends the rule
// (nft_flow_offload_eval in net/netfilter/nft_flow_offload.c).
func (t *translator) flowOffload(a *netlink.Attributes) {
	t.noEffect("flow add @" + a.String(flowTableName))
	t.match(exposure.AnyBit(exposure.FieldCTStatus, statusConfirmed))
}

// synproxy answers the client in the server's place, and the server only sees clients that answered back.
func (t *translator) synproxy(*netlink.Attributes) { t.unknownEffect("synproxy") }
