// Package pipeline says, for all backends at once, what the rules of a firewall.State are: which
// conditions a packet meets in which order, what is noted, logged and counted, and where it goes.
//
// Its functions turn a State, or a part of it, into Chains of Rules. A Rule is data: conditions, at
// most one action, and an end. A backend (firewall/nft, firewall/xt) renders each with one switch
// over the conditions, one over the actions and one over the ends. Where it can't say a condition
// in one clause, it writes the rule once for each way to meet it: "at an address of the service" is
// a look-up for each IP version in nf_tables, and a rule for each prefix in iptables. Where no way
// is left, as with the other IP version's messages, the rule is left out.
//
// What the engines do differently for a reason is not here: how ports lead to services (verdict
// maps, or trees of chains), how sources, rates and questions are held, and what is asked before
// the ports or behind them. Each backend arranges that by itself, out of the same rules, and says
// why.
//
// The wording of changes, which people read in a plan, is here too (changes.go).
//
// A name of a chain is a role, and the service or the ports that it is for; each backend spells it
// as its engine allows.
//
// The package does no I/O, knows no kernel interface and imports no backend. The same State always
// makes the same rules.
package pipeline
