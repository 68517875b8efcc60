package nft

import (
	"fmt"

	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// Names of what remembers multicast questions; see firewall.EssentialMulticastAnswers.
const questionsChain = "questions"

func askedSet(f firewall.Family) string     { return "asked/" + f.String() }
func connectedSet(f firewall.Family) string { return "connected/" + f.String() }

// askedType is the type of a key "address . port . port", of which each part takes six bits.
func askedType(address uint32) uint32 {
	return address<<12 | typeInetService<<6 | typeInetService
}

// answers makes the chain that notes questions as they leave, and returns the rules that let
// answers in.
func (c *compiler) answers() (in []rule) {
	var out []rule
	for _, f := range firewall.Families {
		if !c.state.Connected.Has(f) {
			continue // nobody could answer
		}
		asked := askedSet(f)
		c.sets[asked] = &set{name: asked, family: f, kind: kindAsked, spec: specOf(kindAsked, f)}
		connected := &set{name: connectedSet(f), family: f, kind: kindNets, spec: specOf(kindNets, f),
			spans: prefixSpans(c.state.Connected, f)}
		c.sets[connected.name] = connected
		groups := firewall.Groups(f)
		// The answer comes to the address that asked, or to the group.
		out = append(out, newRule().daddr(f, groups).remember(f, asked, false),
			newRule().daddr(f, groups).remember(f, asked, true))
		in = append(in, newRule().saddrIn(f, connected.name).wasAsked(f, asked).accept())
	}
	if len(in) > 0 {
		h := output
		c.chains[questionsChain] = &chain{name: questionsChain, hook: &h, rules: out}
	}
	return in
}

// Offsets of the ports in a UDP header (RFC 768).
const sourcePort, destinationPort = 0, 2

// reg9 is NFT_REG32_01, the second four bytes of reg1 (include/uapi/linux/netfilter/nf_tables.h).
const reg9 = 9

// key loads an address and the two ports, the host's own first, one behind the other.
func key(f firewall.Family, destination bool, own, peer uint32) []expr.Any {
	first, second := uint32(reg9), uint32(reg9+1)
	if f == firewall.IPv6 { // the address takes all of reg1; the next register of four bytes is the first of the second
		first, second = unix.NFT_REG_2, unix.NFT_REG32_05
	}
	port := func(register, offset uint32) expr.Any {
		return &expr.Payload{OperationType: expr.PayloadLoad, DestRegister: register,
			Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2}
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
		cmpEq([]byte{unix.IPPROTO_UDP}),
		loadAddress(f, destination),
		port(first, own),
		port(second, peer),
	}
}

// remember notes a question, under its own address or under the group's.
func (b *builder) remember(f firewall.Family, set string, group bool) rule {
	side := "saddr"
	if group {
		side = "daddr"
	}
	exprs := append(key(f, group, sourcePort, destinationPort),
		&expr.Dynset{SrcRegKey: reg1, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE})
	return b.add(fmt.Sprintf("meta l4proto 17 update @%s { %s %s . udp sport . udp dport }", set, headerName(f), side),
		exprs...).
		done()
}

// wasAsked matches what answers a question.
func (b *builder) wasAsked(f firewall.Family, set string) *builder {
	return b.add(
		fmt.Sprintf("meta l4proto 17 %s daddr . udp dport . udp sport @%s", headerName(f), set),
		append(key(f, true, destinationPort, sourcePort), lookup(set))...)
}
