package lab

import "golang.org/x/sys/unix"

// Answer is the result of a connection attempt or probe.
type Answer uint8

const (
	// Dropped means that nothing came back.
	Dropped Answer = iota
	// Open means that the listener answered.
	Open
	// Refused means a TCP reset, an SCTP abort, or an ICMP "port unreachable".
	Refused
	// Prohibited means an ICMP message that says that a filter refused it.
	Prohibited
	// Unreachable means any other ICMP "destination unreachable".
	Unreachable
	// Failed means that nothing could be sent. The error was reported to the world's TB.
	Failed
)

var answerNames = [...]string{"dropped", "open", "refused", "prohibited", "unreachable", "failed"}

func (a Answer) String() string {
	if int(a) < len(answerNames) {
		return answerNames[a]
	}
	return "unknown"
}

// icmpAnswer classifies an ICMP (RFC 792, RFC 1812) or ICMPv6 (RFC 4443) error. ok is false for
// messages that do not end a connection, such as "fragmentation needed".
func icmpAnswer(six bool, kind, code uint8) (answer Answer, ok bool) {
	if six {
		if kind != 1 { // destination unreachable
			return Dropped, false
		}
		switch code {
		case 4: // port unreachable
			return Refused, true
		case 1, 5, 6: // administratively prohibited, source policy, reject route
			return Prohibited, true
		}
		return Unreachable, true
	}
	if kind != 3 { // destination unreachable
		return Dropped, false
	}
	switch code {
	case 3: // port unreachable
		return Refused, true
	case 4: // fragmentation needed
		return Dropped, false
	case 9, 10, 13: // network, host, communication administratively prohibited
		return Prohibited, true
	}
	return Unreachable, true
}

// errnoAnswer classifies the error of a socket that got no ICMP message. ok is false for an error
// on this side.
func errnoAnswer(err unix.Errno) (answer Answer, ok bool) {
	switch err {
	case 0:
		return Open, true
	case unix.ECONNREFUSED, unix.ECONNRESET:
		return Refused, true
	case unix.EHOSTUNREACH, unix.ENETUNREACH:
		return Unreachable, true
	case unix.ETIMEDOUT:
		return Dropped, true
	}
	return Failed, false
}
