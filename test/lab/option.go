package lab

import (
	"net/netip"
	"time"
)

// defaultTimeout is how long Connect and others wait for an answer. Inside one kernel an answer
// takes microseconds; the rest allows for a busy machine.
const defaultTimeout = 400 * time.Millisecond

// Option changes how Connect, Dial, Open, Probe and Stream send.
type Option func(*settings)

// settings are the result of the options.
type settings struct {
	protocol   Protocol
	source     netip.Addr
	sourcePort uint16
	device     string
	timeout    time.Duration
	rate       int
	attempts   int
	hops       uint8
	extensions []Extension
}

// Protocol is a transport protocol, by its number in the IP header.
type Protocol uint8

// The protocols that the lab speaks. Probe and ListenRaw also accept every other number, as a
// protocol without ports.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132 // for Connect and ListenSCTP only
	Ping Protocol = 255 // echo requests of ICMP or ICMPv6, which the kernel answers; for Probe only
)

// Over sets a protocol other than TCP.
func Over(p Protocol) Option { return func(a *settings) { a.protocol = p } }

// From sets the source address. The node must have it, as its own or by AddSources.
func From(source netip.Addr) Option { return func(a *settings) { a.source = source } }

// FromPort sets the source port.
func FromPort(port uint16) Option { return func(a *settings) { a.sourcePort = port } }

// Through binds the socket to an interface of the node, such as a VRF (SO_BINDTODEVICE).
func Through(device string) Option { return func(a *settings) { a.device = device } }

// Timeout sets how long to wait for an answer; the default is 400 ms.
func Timeout(d time.Duration) Option { return func(a *settings) { a.timeout = d } }

// Rate limits a Probe or Stream, in packets a second.
func Rate(perSecond int) Option { return func(a *settings) { a.rate = perSecond } }

// Attempts sets how often Probe sends for a source that gets no answer; the default is 3.
func Attempts(n int) Option { return func(a *settings) { a.attempts = n } }

// Hops sets the TTL or hop limit of probes, which else is usualHops.
func Hops(n uint8) Option { return func(a *settings) { a.hops = n } }

// usualHops is what Linux sends with (net.ipv4.ip_default_ttl).
const usualHops = 64

func options(opts []Option) settings {
	a := settings{protocol: TCP, timeout: defaultTimeout, attempts: 3, hops: usualHops}
	for _, o := range opts {
		o(&a)
	}
	return a
}

// local returns the address to bind to, for packets to an address; invalid if any will do.
func (a settings) local(to netip.Addr) netip.AddrPort {
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
