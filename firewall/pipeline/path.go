package pipeline

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// The way of a packet until a service decides, or nobody.

// linkLocal are addresses that say nothing without an interface: any host may have the same (RFC
// 4291 §2.5.6).
var linkLocal = From(netip.MustParsePrefix("fe80::/10"))

// Loopback is never filtered.
const Loopback = ArrivesBy("lo")

// Labels are the chains that note before DNAT which connections were addressed to the host itself:
// nothing tells that later. They also note which begin outside, and past the interfaces of Direct,
// and which bear a link-local address of the interface by which they come. Packets that begin a
// connection go to the first of them.
//
// Packets that come by a VRF from outside have come by an interface of it before, and passed the
// first chain; what has not is the host's own. Only here the kernel knows the addresses in the VRF:
// past routing, Linux 6.1 finds none of them local.
func Labels(s firewall.State) []Chain {
	outside := []Rule{
		If(Loopback).Return(),
		If(ByVRF).Goto(Named(VRF)),
		If().Does(Label(firewall.OutsideLabel)),
	}
	vrf := Chain{Named(VRF), []Rule{
		If(Lacks(firewall.OutsideLabel)).Return(),
		If(FromOwnHere).Does(Label(firewall.SpoofedLabel)),
		If(ToOwn).Does(Label(firewall.OwnLabel)).Return(),
		If(ToOwnHere).Does(Label(firewall.OwnLabel)),
	}}
	others := []Chain{vrf}
	if len(s.Direct) > 0 {
		outside = append(outside, If().Jump(Named(Elsewhere)))
		past := append(
			Arriving(s.Direct, End{Kind: Return}),
			If().Does(Label(firewall.ElsewhereLabel)),
		)
		others = append(others, Chain{Named(Elsewhere), past})
	}
	outside = append(outside,
		If(linkLocal, FromOwnHere).Does(Label(firewall.SpoofedLabel)),
		If(ToOwn).Does(Label(firewall.OwnLabel)))
	return append([]Chain{{Named(Remember), outside}}, others...)
}

// Arriving are rules for packets that come by one of some interfaces.
func Arriving(interfaces []string, end End) (rules []Rule) {
	for _, pattern := range interfaces {
		rules = append(rules, If(ArrivesBy(pattern)).Ends(end))
	}
	return rules
}

// Established is what established: keep lets go on.
func Established(s firewall.State) []Rule {
	if s.Established != firewall.EstablishedKeep {
		return nil
	}
	return []Rule{If(Running).Accept()}
}

// ControlMessages leaves messages out that speak of addresses which two hosts have, as neighbour
// discovery does. No port is behind any of them.
func ControlMessages() []Rule {
	return []Rule{
		If(Carries(firewall.ICMP)).Return(),
		If(Carries(firewall.IGMP)).Return(),
		If(Carries(firewall.ICMPv6)).Return(),
	}
}

// FromOwnAddress finds the packets that come from outside and bear one of the host's own addresses
// as their source. If such a packet began a connection, whatever comes next to the host would look
// like a reply. In a VRF the label alone tells: there what the host sends to itself comes by the
// VRF, as what is from outside does, and newer kernels find its source local.
func FromOwnAddress(end End) []Rule {
	return []Rule{
		If(Has(firewall.SpoofedLabel)).Ends(end),
		If(linkLocal).Return(),
		If(ByVRF).Return(),
		If(FromOwn).Ends(end),
	}
}

// SpoofedChain refuses such packets, silently: an answer would go to the host itself.
func SpoofedChain() Chain {
	spoofed := Named(Spoofed)
	return Chain{spoofed, []Rule{
		If().Does(Record{spoofed, firewall.LogLabelSpoofed, true}),
		If().Ends(End{Kind: Drop}),
	}}
}

// Published leaves out of Direct's chain what this host has published, which decides for itself,
// and what comes from one container to another.
func Published(s firewall.State) []Rule {
	return append([]Rule{If(Translated).Return()}, Arriving(s.Direct, End{Kind: Return})...)
}

// PastDNAT are the two ways in which packets get to the interfaces of Direct unasked: they begin
// something there, or are a reply that nobody there has asked for.
func PastDNAT() (begun, reply []Condition) {
	return []Condition{Beginning}, []Condition{Reply, Has(firewall.ElsewhereLabel)}
}

// DirectRefusal refuses what gets there so.
func DirectRefusal(how firewall.Refuse) Chain {
	return refusal(Named(DirectRefuse), Record{Named(Direct), firewall.LogLabelDirect, true}, how)
}

// Essential lets in what a default-deny host still has to receive, but for answers to multicast
// questions.
func Essential(s firewall.State) (rules []Rule) {
	for _, m := range s.Essentials.Messages() {
		rules = append(rules, If(Message(m)).Accept())
	}
	if s.Essentials.Has(firewall.EssentialMulticastMembership) {
		rules = append(rules, If(Carries(firewall.IGMP)).Accept())
	}
	if s.Essentials.Has(firewall.EssentialDHCP) {
		rules = append(rules,
			If(Only(address.IPv4), UDP{firewall.DHCPServerPort, firewall.DHCPClientPort}).Accept(),
			If(To(firewall.LinkLocal6), UDP{Destination: firewall.DHCPv6ClientPort}).Accept())
	}
	return rules
}

// Announced lets in second connections of protocols that a conntrack helper follows (FTP, SIP):
// part of what the host started. Only their first packets are in state related.
func Announced() []Rule {
	return []Rule{
		If(Carries(firewall.TCP), Expected).Accept(),
		If(Carries(firewall.UDP), Expected).Accept(),
	}
}

// UnlistedRefusal refuses what no service lists and nothing above lets in.
func UnlistedRefusal(how firewall.Refuse) Chain {
	return refusal(Named(UnlistedRefuse),
		Record{Named(Unlisted), firewall.LogLabelUnlisted, true}, how)
}

// AnswersIn reports whether hosts of an IP version may answer multicast questions: some are part of
// a network that this host is connected to.
func AnswersIn(s firewall.State, f address.Family) bool {
	return s.Essentials.Has(firewall.EssentialMulticastAnswers) && s.Connected.Has(f)
}
