package xt

import (
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// Answers to multicast questions; see firewall.EssentialMulticastAnswers. No type of ipset has a
// key of an address and two ports, so each question becomes an element of two sets: the address
// with the port that asked, and the address with the port that was asked. An answer must be in
// both. This is wider than nftables in one case: if an address asks two questions within
// firewall.AnswerTime, the port asked by the first may answer the second.

// question makes the two sets, and returns their names.
func (c *compiler) question() (own, peer string) {
	return c.set("", kindOwnPort, &list{}), c.set("", kindPeerPort, &list{})
}

// questions notes what the host asks a group as it leaves. The answer comes to the address that
// asked, or to the group. Noting it again renews its time. A full set notes nothing more, so
// answers to further questions are refused until elements time out.
func (c *compiler) questions(t *table) {
	if !pipeline.AnswersIn(c.state, c.family) {
		return
	}
	own, peer := c.question()
	add := func(set, key string) []string {
		return []string{"-j", "SET", "--add-set", set, key, "--exist"}
	}
	only := pipeline.If(pipeline.To(firewall.Groups(c.family)), pipeline.Carries(firewall.UDP))
	c.hooked(t, "OUTPUT", questionsChain, only, rulesOf(
		append(comment(mark), add(own, "src,src")...), add(peer, "src,dst"),
		add(own, "dst,src"), add(peer, "dst,dst"))...)
}

// answers leads what answers a question to the chain that lets it in from a connected network.
func (c *compiler) answers() []rule {
	if !pipeline.AnswersIn(c.state, c.family) {
		return nil
	}
	var rules []pipeline.Rule
	for p := range c.state.Connected.Family(c.family) {
		rules = append(rules, pipeline.If(pipeline.From(p)).Accept())
	}
	refuse := pipeline.If().Goto(pipeline.Named(pipeline.UnlistedRefuse))
	c.chain(answersChain, "", c.render(append(rules, refuse)...)...)
	own, peer := c.question()
	return rulesOf([]string{"-p", "udp", "-m", "set", "--match-set", own, "dst,dst",
		"-m", "set", "--match-set", peer, "dst,src", "-g", answersChain})
}
