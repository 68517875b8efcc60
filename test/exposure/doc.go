// Package exposure tests package firewall/exposure against the kernel: it loads random rulesets,
// written both as a model and as scripts for nft and iptables, into a world of test/lab, sends
// packets from the sources at which rules change, and compares the results with the evaluator's
// answer:
//
//	certain ⊆ what got through ⊆ possible
//
// The evaluator answers from the model first, so that a reader's mistake can't hide one of the
// evaluator's. Then every reader reads the loaded rules back: from the kernel, and from the output
// of nft, iptables-save and ipset. Answers from these must not contradict the model's, and are
// compared with the same packets.
//
// PORTGRAVE_RULESETS sets the number of rulesets, PORTGRAVE_SEED the first one's seed. A failure
// names the seed that repeats it.
package exposure
