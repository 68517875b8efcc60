package denied

import (
	"net/netip"
	"time"
)

// Action is what happened to the packets of an Event.
type Action string

const (
	// Denied packets were refused.
	Denied Action = "denied"
	// Allowed packets opened a connection to a service with log: all.
	Allowed Action = "allowed"
	// Lost packets were reported by the kernel, but nothing else is known about them, because the
	// reader or a writer was too slow.
	Lost Action = "lost"
)

// Event stands for one packet or for several similar ones. Fields in which the packets differ are
// empty. Its JSON form is a contract: fields may be added but not renamed.
//
// An Event with Sources and without Source is a flood: packets of more sources than are tracked.
type Event struct {
	// Time and Last are when the first and the last of the packets arrived.
	Time time.Time `json:"time"`
	Last time.Time `json:"last"`

	Action Action `json:"action"`
	// Service is its name in the policy, or firewall.LogLabelUnlisted. It is empty for a flood over
	// more services than are tracked.
	Service string `json:"service,omitempty"`
	// Protocol is "tcp", "udp", "sctp", "icmp", "icmpv6" or "protocol-N"; empty if the packet could
	// not be parsed.
	Protocol string `json:"protocol,omitempty"`

	Source     netip.Addr `json:"source,omitzero"`
	SourcePort uint16     `json:"source_port,omitempty"`
	// Destination and Port are what the client sent to, before any DNAT.
	Destination netip.Addr `json:"destination,omitzero"`
	Port        uint16     `json:"port,omitempty"`
	ICMP        *ICMP      `json:"icmp,omitempty"`
	// Interface is where the packet came in.
	Interface string `json:"interface,omitempty"`

	// Count is the number of packets. Each packet is counted in one event only.
	Count uint64 `json:"count"`
	// Sources estimates the number of distinct sources of a flood, within about 10 %. Examples are
	// the first few of them.
	Sources  uint64       `json:"sources,omitempty"`
	Examples []netip.Addr `json:"examples,omitempty"`
}

// ICMP has the fields of an ICMP or ICMPv6 message that replace ports.
type ICMP struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}
