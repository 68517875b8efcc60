package nft

import (
	"github.com/google/nftables/expr"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
	"golang.org/x/sys/unix"
)

// Names of what remembers multicast questions; see firewall.EssentialMulticastAnswers.
const questionsChain = "questions"

func askedSet(f address.Family) string     { return "asked/" + f.String() }
func connectedSet(f address.Family) string { return "connected/" + f.String() }

// askedType is the type of a key "address . port . port": six bits for each part.
func askedType(address uint32) uint32 {
	return address<<12 | typeInetService<<6 | typeInetService
}

// answers makes the chain that notes questions as they leave, and returns the rules that let
// answers in.
func (c *compiler) answers() (in []rule) {
	var out []rule
	for _, f := range address.Families {
		if !pipeline.AnswersIn(c.state, f) {
			continue
		}
		asked := askedSet(f)
		c.set(asked, &set{family: f, kind: kindAsked, spec: specOf(kindAsked, f)})
		connected := connectedSet(f)
		c.set(connected, &set{family: f, kind: kindNets, spec: specOf(kindNets, f),
			spans: prefixSpans(c.state.Connected, f)})
		groups := firewall.Groups(f)
		// The answer comes to the address that asked, or to the group.
		out = append(out, newRule().daddr(f, groups).remember(f, asked, false),
			newRule().daddr(f, groups).remember(f, asked, true))
		in = append(in, newRule().saddrIn(f, connected).wasAsked(f, asked).accept())
	}
	if len(in) > 0 {
		h := output
		c.chains[questionsChain] = &chain{name: questionsChain, hook: &h, rules: out}
	}
	return in
}

// reg9 is NFT_REG32_01, the second four bytes of reg1 (include/uapi/linux/netfilter/nf_tables.h).
const reg9 = 9

// udpKey loads an address and the two ports, the host's own first, one behind the other.
func (b *builder) udpKey(f address.Family, destination bool, own, peer uint32) *builder {
	first, second := uint32(reg9), uint32(reg9+1)
	if f == address.IPv6 { // the address takes all of reg1: go on in the second
		first, second = unix.NFT_REG_2, unix.NFT_REG32_05
	}
	return b.l4proto(unix.IPPROTO_UDP).add(
		loadAddress(f, destination), loadTransport(first, own, 2), loadTransport(second, peer, 2))
}

// remember notes a question, under its own address or under the group's.
func (b *builder) remember(f address.Family, set string, group bool) rule {
	return b.udpKey(f, group, sourcePortOffset, destinationPortOffset).
		add(&expr.Dynset{SrcRegKey: reg1, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE}).
		done()
}

// wasAsked matches what answers a question.
func (b *builder) wasAsked(f address.Family, set string) *builder {
	return b.udpKey(f, true, destinationPortOffset, sourcePortOffset).add(lookup(set))
}
