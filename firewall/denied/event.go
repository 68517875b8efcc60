package denied

import (
	"net/netip"
	"time"
)

// Action is what became of the packets of an Event.
type Action string

const (
	// Denied packets were refused.
	Denied Action = "denied"
	// Allowed packets opened a connection to a service with log: all.
	Allowed Action = "allowed"
	// Lost packets were reported by the kernel, but nothing else is known: the flood was faster than we, or a
	// writer too slow.
	Lost Action = "lost"
)

// Event stands for one packet, or for several that are alike. A field in which they differ is left out. Its
// JSON form is a contract: fields may be added, never renamed.
//
// An Event without Source and with Sources is a flood: packets of more sources than are told apart.
type Event struct {
	// Time and Last are when the first and the last of the packets arrived.
	Time time.Time `json:"time"`
	Last time.Time `json:"last"`

	Action Action `json:"action"`
	// Service is the policy's name for it, or firewall.LogLabelUnlisted. It is empty in a flood over
	// more services than are told apart.
	Service string `json:"service,omitempty"`
	// Protocol is "tcp", "udp", "sctp", "icmp", "icmpv6" or "protocol-N"; empty if the packet could not be read.
	Protocol string `json:"protocol,omitempty"`

	Source     netip.Addr `json:"source,omitzero"`
	SourcePort uint16     `json:"source_port,omitempty"`
	// Destination and Port are what the client asked for, before any DNAT.
	Destination netip.Addr `json:"destination,omitzero"`
	Port        uint16     `json:"port,omitempty"`
	ICMP        *ICMP      `json:"icmp,omitempty"`
	// Interface is where the packet came in.
	Interface string `json:"interface,omitempty"`

	// Count is how many packets this event stands for. Each is counted in one event only.
	Count uint64 `json:"count"`
	// Sources estimates how many distinct sources a flood had, give or take a tenth. Examples are the first few of them.
	Sources  uint64       `json:"sources,omitempty"`
	Examples []netip.Addr `json:"examples,omitempty"`
}

// ICMP is what an ICMP or ICMPv6 message has in place of ports.
type ICMP struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}
