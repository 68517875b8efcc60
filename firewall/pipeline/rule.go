package pipeline

import (
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Chain is a list of rules. A packet meets one after the other.
type Chain struct {
	Name  Name
	Rules []Rule
}

// Name says what a chain is for. Backends spell it.
type Name struct {
	Role    Role
	Service string             // of Service, Where, Allow, Refuse
	Ports   firewall.PortRange // of Shared, and of what a service has for a lease alone: the first
	Text    string             // of Other
}

// Role is what a chain is for, whatever service it serves.
type Role uint8

const (
	Other          Role = iota // one that a backend needs for itself
	Remember                   // what begins a connection, before DNAT
	VRF                        // the same, of what comes by a VRF
	Elsewhere                  // the same, of what comes past the interfaces of Direct
	OwnSource                  // what may bear one of the host's own addresses
	Spoofed                    // what does so: refused
	Direct                     // what is forwarded to an interface of Direct
	DirectRefuse               //
	Unlisted                   // ports that no service lists
	UnlistedRefuse             //
	Service                    // its sources
	Where                      // its interfaces and addresses
	Shared                     // those of the services that share some ports
	Allow                      // its rate and log
	Refuse                     //
)

// Named is a name that needs no more than a role; Of is one of a service, and Text one that a
// backend has thought of.
func Named(r Role) Name              { return Name{Role: r} }
func Of(r Role, service string) Name { return Name{Role: r, Service: service} }
func Text(name string) Name          { return Name{Text: name} }

// Rule is for packets that meet all of When: Do is done with them, and End is their verdict.
type Rule struct {
	When []Condition
	Do   Action // nil: nothing
	End  End    // the zero End: they go on to the next rule
}

// If begins a rule for packets that meet all of these conditions.
func If(all ...Condition) Rule { return Rule{When: all} }

// Does adds what is done, Ends what becomes of the packets.
func (r Rule) Does(a Action) Rule { r.Do = a; return r }
func (r Rule) Ends(e End) Rule    { r.End = e; return r }

func (r Rule) Goto(n Name) Rule { return r.Ends(Goto(n)) }
func (r Rule) Jump(n Name) Rule { return r.Ends(Jump(n)) }
func (r Rule) Accept() Rule     { return r.Ends(End{Kind: Accept}) }
func (r Rule) Return() Rule     { return r.Ends(End{Kind: Return}) }

// End is what becomes of a packet.
type End struct {
	Kind EndKind
	To   Name // of GoesTo and Jumps
}

func Goto(n Name) End { return End{GoesTo, n} }
func Jump(n Name) End { return End{Jumps, n} }

// EndKind is a kind of End.
type EndKind uint8

const (
	GoesOn      EndKind = iota // to the next rule
	GoesTo                     // another chain, for good
	Jumps                      // to another chain, and may come back
	Return                     // to the chain that has jumped here
	Accept                     // nothing of ours has anything against it
	Drop                       // silently
	Reset                      // dropped, and answered with a TCP reset
	Unreachable                // dropped, and answered with an ICMP error: no such port
)

// Action is what a rule does with packets, besides what becomes of them: Label, LogAllowed,
// CountAllowed or Record.
type Action interface{ action() }

type (
	// Label sets a bit of the connection's label.
	Label int
	// LogAllowed logs in the name of a service.
	LogAllowed string
	// CountAllowed counts for a service.
	CountAllowed string
	// Record counts what is refused and, if asked to, logs it, within firewall.DeniedLogRate.
	Record struct {
		For   Name   // whose counter it is
		Label string // what the log calls it
		Log   bool
	}
)

func (Label) action()        {}
func (LogAllowed) action()   {}
func (CountAllowed) action() {}
func (Record) action()       {}

// Condition is something that holds of a packet or doesn't: a Fact, or one of the types below.
type Condition interface{ condition() }

// Fact is a condition that needs no more words.
type Fact uint8

const (
	// FirstPacket begins a connection. Untracked packets begin none.
	FirstPacket Fact = iota
	// Reply goes the other way than its connection's first packet.
	Reply
	// Running goes the same way, in a connection that has been answered.
	Running
	// NoConnection belongs to none: conntrack doesn't follow it, or can't place it.
	NoConnection
	// Beginning belongs to none, or to one that nobody has answered.
	Beginning
	// Expected belongs to a connection that a helper of conntrack has announced.
	Expected
	// Translated belongs to a connection whose destination this host has translated.
	// Redirected is one of these that goes the way of the first packet.
	Translated
	Redirected
	// ByVRF comes by a VRF, whichever interface it came to first.
	ByVRF
	// FromOwn bears one of the host's own addresses as its source, ToOwn as its destination.
	FromOwn
	ToOwn
	// FromOwnHere and ToOwnHere: an address of the interface by which it comes.
	FromOwnHere
	ToOwnHere
	// ToVirtual is for one of State.Virtual.
	ToVirtual
)

type (
	// ArrivesBy is an interface, or a pattern that ends in "*", by which a packet comes.
	ArrivesBy string
	// ArrivesThrough is the same; where that interface is in a VRF, its own name or the VRF's.
	ArrivesThrough string
	// LeavesBy is the interface by which a packet is forwarded.
	LeavesBy string
	// Has and Lacks ask for a bit of the connection's label.
	Has   int
	Lacks int
	// Only is for one IP version.
	Only address.Family
	// From and To are prefixes of the packet's own source and destination.
	From netip.Prefix
	To   netip.Prefix
	// DialledAt is one of a service's addresses, by the one that the client dialled.
	DialledAt firewall.Service
	// Listed is a protocol that services list as a whole.
	Listed firewall.Protocol
	// Carries is any other protocol, in the IP version that it belongs to: see VersionOf.
	Carries firewall.Protocol
	// Message is an ICMP message.
	Message firewall.ICMPMessage
	// UDP has these ports; Source 0 is any.
	UDP struct{ Source, Destination uint16 }
	// Note is for people who read the rules of an engine that has comments: it always holds.
	Note string
	// OverRate is more from one source than the service's rate lets through, or from one more
	// source than is remembered.
	OverRate firewall.Service
)

func (Fact) condition()           {}
func (ArrivesBy) condition()      {}
func (ArrivesThrough) condition() {}
func (LeavesBy) condition()       {}
func (Has) condition()            {}
func (Lacks) condition()          {}
func (Only) condition()           {}
func (From) condition()           {}
func (To) condition()             {}
func (DialledAt) condition()      {}
func (Listed) condition()         {}
func (Carries) condition()        {}
func (Message) condition()        {}
func (UDP) condition()            {}
func (Note) condition()           {}
func (OverRate) condition()       {}

// VersionOf is the one IP version that a protocol belongs to; false if both carry it.
func VersionOf(p firewall.Protocol) (address.Family, bool) {
	switch p {
	case firewall.ICMP, firewall.IGMP:
		return address.IPv4, true
	case firewall.ICMPv6:
		return address.IPv6, true
	}
	return 0, false
}

// Forms are the words of a rule in an engine, but for its end: one list for each way to combine the
// forms of its conditions and of its action. A condition without a form leaves none. Each list gets
// the rule's end, so an action of a rule that ends has forms of which a packet meets one.
func Forms[W any](r Rule, condition func(Condition) [][]W, action func(Action) [][]W) [][]W {
	all := [][]W{nil}
	for _, when := range r.When {
		all = combine(all, condition(when))
	}
	if r.Do != nil {
		all = combine(all, action(r.Do))
	}
	return all
}

// combine puts each form behind each beginning.
func combine[W any](beginnings, forms [][]W) (out [][]W) {
	for _, b := range beginnings {
		for _, f := range forms {
			out = append(out, slices.Concat(b, f))
		}
	}
	return out
}
