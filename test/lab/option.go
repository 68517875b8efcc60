package lab

import (
	"net/netip"
	"time"
)

// patience is how long a question waits for an answer unless told otherwise. Inside one kernel an
// answer takes microseconds; the rest is for a machine that is busy with other things.
const patience = 400 * time.Millisecond

// Option says how Connect, Dial, Open or Probe ask.
type Option func(*asking)

// asking is what the options make of a question.
type asking struct {
	protocol   Protocol
	source     netip.Addr
	sourcePort uint16
	device     string
	timeout    time.Duration
	rate       int
	attempts   int
}

// Protocol is a transport protocol, by its number in the IP header.
type Protocol uint8

// The protocols that the lab speaks. Probe, and what it is answered by, speak every other number
// too.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132 // Connect and ListenSCTP only
	Ping Protocol = 255 // echo requests of ICMP or ICMPv6, which the kernel answers; Probe only
)

// Over asks by another protocol than TCP.
func Over(p Protocol) Option { return func(a *asking) { a.protocol = p } }

// From sets the source address. It must be one of the node's: its own, or one of AddSources.
func From(source netip.Addr) Option { return func(a *asking) { a.source = source } }

// FromPort sets the source port.
func FromPort(port uint16) Option { return func(a *asking) { a.sourcePort = port } }

// Through binds the socket to an interface of the node, such as a VRF (SO_BINDTODEVICE).
func Through(device string) Option { return func(a *asking) { a.device = device } }

// Timeout sets how long to wait; the default is 400 ms.
func Timeout(d time.Duration) Option { return func(a *asking) { a.timeout = d } }

// Rate bounds a Probe or Stream to so many packets a second.
func Rate(perSecond int) Option { return func(a *asking) { a.rate = perSecond } }

// Attempts sets how often Probe asks a source that does not answer; the default is 3.
func Attempts(n int) Option { return func(a *asking) { a.attempts = n } }

func options(opts []Option) asking {
	a := asking{protocol: TCP, timeout: patience, attempts: 3}
	for _, o := range opts {
		o(&a)
	}
	return a
}

// local is the address to bind to, for a question to an address; invalid if any will do.
func (a asking) local(to netip.Addr) netip.AddrPort {
	if !a.source.IsValid() && a.sourcePort == 0 {
		return netip.AddrPort{}
	}
	source := a.source
	if !source.IsValid() {
		source = netip.IPv4Unspecified()
		if to.Is6() {
			source = netip.IPv6Unspecified()
		}
	}
	return netip.AddrPortFrom(source, a.sourcePort)
}
