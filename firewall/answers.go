package firewall

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// Answers to multicast questions (EssentialMulticastAnswers). The host asks a group over UDP, from
// a local address and port; a host that knows answers from an address of its own, so conntrack
// takes the answer for the start of a connection. A backend notes each question as it leaves, and
// lets in for AnswerTime what comes to the local address and port, from the port that was asked,
// from one of State.Connected. An answer may go to the group instead, as mDNS does where the
// question came from its own port (RFC 6762 §6).
const (
	// AnswerTime is as long as answerers wait at the most: SSDP's MX is up to 3 seconds in
	// practice, mDNS and LLMNR take less.
	AnswerTime = 3 * time.Second
	// MaxQuestions bounds what is remembered: a host asks some questions a second.
	MaxQuestions = 4096
)

// Groups are the multicast addresses of a family.
func Groups(f address.Family) netip.Prefix {
	if f == address.IPv6 {
		return netip.MustParsePrefix("ff00::/8")
	}
	return netip.MustParsePrefix("224.0.0.0/4")
}
