package exposure

import (
	"github.com/portgrave/portgrave/firewall/address"
)

// Statement is one thing that a rule does. A rule's statements run in order until one ends the
// rule:
//
//   - a Match, Unknown match or look-up that doesn't hold ends it, and the next rule follows.
//     Earlier statements keep their effect: nf_tables allows "meta mark set 1 tcp dport 22 accept",
//     which marks everything;
//   - a verdict other than VerdictContinue ends it, and says where the packet goes on;
//   - a rule that ends without a verdict is followed by the next rule.
//
// x_tables rules are the same: their matches first, all of which must hold, then what the target
// does. A target that lets the packet go on (MARK, LOG, CT, SET, …) is written without a verdict;
// one that ends the chain (TPROXY when it succeeds) with its VerdictAccept behind it. For NAT that
// is not needed: see NAT.
//
// The types below are the only ones. What they can't express exactly is Unknown.
type Statement interface{ statement() }

func (Match) statement()      {}
func (Verdict) statement()    {}
func (VerdictMap) statement() {}
func (Assign) statement()     {}
func (NAT) statement()        {}
func (TProxy) statement()     {}
func (NoTrack) statement()    {}
func (SetUpdate) statement()  {}
func (NoEffect) statement()   {}
func (Unknown) statement()    {}

// Match holds if the tuple of operands is in the set; with Not, if it isn't. It never holds if an
// operand is absent (see Field).
//
// Not inverts the whole tuple, as both systems do: "! --icmp-type 3/4" is Not of (type, code) in
// {(3, 4)}. An xtables extension with several options is a Match for each, since each has its own
// "!" and all must hold. An option that is an or, such as "--ports" or "--ctstate NEW,DNAT", is one
// Match of several columns: see Set, and for the latter Not of (state & new, status & dnat) in {(0,
// 0)}.
//
// "ct state new,established" asks for any of some bits: Not of state & (new|established) in {0}.
// "tcp flags & (syn|ack) == syn" is flags & (syn|ack) in {syn}.
type Match struct {
	Key []Operand // In.Width of them
	In  *Set
	Not bool
}

// In matches one operand against ranges.
func In(o Operand, ranges ...Range) Match { return Match{Key: []Operand{o}, In: SetOf(ranges...)} }

// NotIn matches one operand that is in none of the ranges.
func NotIn(o Operand, ranges ...Range) Match {
	m := In(o, ranges...)
	m.Not = true
	return m
}

// AnyBit matches a field that has any of some bits.
func AnyBit(f Field, bits uint64) Match { return NotIn(Of(f).And(Number(bits)), One(Value{})) }

// Verdict says where the packet goes on.
type Verdict struct {
	Kind  VerdictKind
	Chain string // VerdictJump, VerdictGoto: a chain of the same table
	// With is for people. VerdictReject: the answer, "tcp reset"; VerdictQueue: the queue;
	// VerdictStolen: the device.
	With string
}

// VerdictKind is the kind of a verdict.
type VerdictKind uint8

const (
	// VerdictContinue goes on with the next statement: nft's continue. A verdict map can have it.
	VerdictContinue VerdictKind = iota
	// VerdictAccept ends the base chain, however deep in jumps. The packet goes on to the next
	// chain of the hook, and behind the last to the next hook: accepted here can still be dropped
	// elsewhere.
	VerdictAccept
	// VerdictDrop is final, for all chains and hooks.
	VerdictDrop
	// VerdictReject is a drop with an answer. nf_tables and x_tables alike drop the packet also
	// where the answer can't be sent.
	VerdictReject
	// VerdictReturn continues after the rule that jumped here. In a base chain, and after a goto
	// from one, the base chain's policy follows.
	VerdictReturn
	// VerdictJump runs a user chain, and then continues with the next rule.
	VerdictJump
	// VerdictGoto runs a user chain in place of this one: after it, the packet goes where this
	// chain would have returned to. From a base chain, that is the policy.
	VerdictGoto
	// VerdictQueue hands the packet to a program, which may drop it, or accept it (as
	// VerdictAccept, or go through the hook again), with any changes: an Unknown effect that never
	// goes on with the next rule.
	VerdictQueue
	// VerdictStolen: the packet leaves this walk (nft's fwd). For the socket in question, it is
	// dropped.
	VerdictStolen
)

var verdictNames = []string{
	"continue",
	"accept",
	"drop",
	"reject",
	"return",
	"jump",
	"goto",
	"queue",
	"stolen",
}

// String is nft's word.
func (k VerdictKind) String() string {
	if int(k) < len(verdictNames) {
		return verdictNames[k]
	}
	return "unknown"
}

// VerdictMap looks a tuple up and applies the element's verdict. Without an element it doesn't
// hold: the rule ends, and the next follows.
type VerdictMap struct {
	Key []Operand
	In  *Set // with Verdicts
}

// Assign sets a field: "meta mark set", "ct mark set", xtables' MARK and CONNMARK, a header field
// that is overwritten.
//
// The new value is the exclusive or of all operands of Value, cut to the field's width. One is
// enough for nearly everything: mark & mask ^ value is an Operand. Restoring a part of the
// connection's mark takes two, mark &^ nfmask and ctmark & ctmask. If one of them is absent,
// nf_tables ends the rule and so does this; x_tables does nothing and goes on, which makes no
// difference to a target.
//
// FieldMark, FieldCTMark, FieldCTLabel and FieldCTZone matter to other rules; FieldDest4,
// FieldDest6 and FieldDport change the packet's destination, which the connection doesn't reflect.
// FieldRaw and the source fields are an Unknown effect on everything that reads the header. Any
// other field (priority, nftrace, TOS, TTL) doesn't matter to a first packet: NoEffect.
type Assign struct {
	To    Field
	Raw   Raw // FieldRaw only
	Value []Operand
}

// NAT sets up the connection's translation, and accepts: in both systems it ends the base chain as
// VerdictAccept does. It occurs in TypeNAT chains only, and translates nothing where one of its
// operands is absent (the rule ends, the next follows) or Family isn't the packet's (it goes on).
//
// The destination becomes Addr, or one of Addr to AddrMax, the port Port, or one of Port to
// PortMax, the kernel's choice: all of them possible. nil leaves it as it is. A map looked up with
// an unknown, as kube-proxy's "numgen random mod 2 map", makes several targets too. NETMAP is
// (address & ^mask) ^ network, an Operand.
type NAT struct {
	Kind          NATKind
	Family        Family // FamilyIPv4, FamilyIPv6; FamilyInet for the packet's own
	Addr, AddrMax *Operand
	Port, PortMax *Operand
	// PortBase shifts a range of ports: the new port is Port + (old port − PortBase), modulo the
	// range's length (xtables' --to-destination :3000-4000/2000).
	PortBase *Operand
	Text     string // flags (random, persistent), for people: they only choose among the possible
}

// NATKind is the kind of a translation.
type NATKind uint8

const (
	// NATDestination: dnat.
	NATDestination NATKind = iota
	// NATRedirect: dnat to the host itself, to the first address of the incoming interface. Addr is
	// nil.
	NATRedirect
	// NATSource: snat. The source that later hooks see is changed; who the packet came from is not,
	// and the answer is about that.
	NATSource
	// NATMasquerade: snat to the outgoing interface's address. Addr is nil.
	NATMasquerade
)

func (k NATKind) String() string { return [...]string{"dnat", "redirect", "snat", "masquerade"}[k&3] }

// TProxy hands the packet to a local transparent socket on Addr and Port without changing it. nil:
// the packet's own port; the first address of the incoming interface. The packet is then delivered
// locally, if the routing that the rules have arranged by a mark agrees.
//
// Where no such socket is: nf_tables ends the rule, xtables drops (OrDrop). Where one is, nf_tables
// goes on with the next statement, and so does this; a reader of xtables adds its mark (Assign) and
// its VerdictAccept behind.
type TProxy struct {
	Family     Family
	Addr, Port *Operand
	OrDrop     bool
}

// NoTrack keeps the packet out of connection tracking: no connection, no NAT, state untracked. It
// has an effect only before PriorityConntrack.
type NoTrack struct{}

// SetUpdate adds a tuple to a set, or removes it: nft's add, update and delete, xtables' SET. The
// packet goes on with the next statement. MarkDynamic sets Set.Grows and Set.Shrinks for the sake
// of later look-ups. A look-up of what this packet has just added is a maybe too.
type SetUpdate struct {
	Set *Set
	Op  SetOp
	Key []Operand
	// Condition is what is attached to the element and can't be known ("limit rate over
	// 10/second"): with it, this is an Unknown match too.
	Condition string
	// Rate is what Condition begins with, if that is a rate.
	Rate Rate
	// EndsWhenFull: nf_tables ends the rule where the set is full and the tuple new (that is,
	// Set.Len() = Set.Size now). x_tables goes on.
	EndsWhenFull bool
}

// SetOp is what SetUpdate does.
type SetOp uint8

const (
	SetAdd    SetOp = iota // and update
	SetDelete              // removes it, if it is there
)

// NoEffect is a statement that changes nothing about where the packet goes: counter, log, comment,
// dup, nftrace, flow add, priority, TCPMSS, TEE, a conntrack helper. Kept for explaining.
type NoEffect struct {
	Text string
	// Header: it may write to the IP header, where the packet's way doesn't depend on it. Behind a
	// chain that does so, the kernel may route an answer again: see TypeRoute.
	Header bool
}

// Unknown is a statement whose meaning isn't known, or depends on what can't be known. Text is its
// text in the rule.
//
// Without Effect it is a match: it may hold or not, and changes nothing (limit, hashlimit, recent,
// quota, time, string, owner, statistic, connlimit, bpf, u32, socket, any match never heard of). It
// is the same with "!".
//
// With Effect it may do anything that a statement can: accept, drop, end the rule, go on, with
// every mark and the destination changed.
type Unknown struct {
	Text   string
	Effect bool
	// Rate is what a match allows, if it is a rate.
	Rate Rate
	// Optional is a match on something that senders may leave out, and that ordinary packets don't
	// have: an IPv6 routing header. It doesn't hold for these (usual.go), and a rule that only drops
	// such packets stops no source (headers.go).
	Optional bool
	// Header is the extension header that an Optional match needs, by number; 0 if that isn't known.
	Header uint8
	// Account is the object of nfacct that the match names; "" for other matches. It always holds,
	// unless the object has a quota, which the rule doesn't show (nfacct_mt in
	// net/netfilter/xt_nfacct.c). Package live asks the kernel.
	Account string
	// NotStatus are bits of FieldCTStatus: the statement holds unless the packet has a connection
	// with one of them. 0: it isn't such a statement.
	NotStatus uint64
}

// Only is a match for packets of one IP version.
func Only(f address.Family) Match {
	if f == address.IPv6 {
		return In(Of(FieldNFProto), One(Number(uint64(FamilyIPv6))))
	}
	return In(Of(FieldNFProto), One(Number(uint64(FamilyIPv4))))
}

// MarkDynamic sets Grows and Shrinks of every set that a rule updates. Readers call it after the
// last rule.
func (rs *Ruleset) MarkDynamic() {
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					if u, ok := s.(SetUpdate); ok && u.Set != nil {
						u.Set.Grows = u.Set.Grows || u.Op == SetAdd
						u.Set.Shrinks = u.Set.Shrinks || u.Op == SetDelete
					}
				}
			}
		}
	}
}
