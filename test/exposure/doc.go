// Package exposure holds the kernel's judgement of package firewall/exposure: random rulesets, written as a model and as scripts for nft and
// iptables at once, are loaded into a world of test/lab, asked about from the sources where something changes, and compared with the evaluator's answer:
//
//	certain ⊆ what got through ⊆ possible
//
// with equality where the two are equal. The evaluator answers from the model first, so that a mistake of a reader can't hide one of its own. Then what
// was loaded is read back by every reader that can: from the kernel, and from what nft, iptables-save and ipset print of it. Their answers must not
// contradict the model's, and are judged by the same packets.
//
// PORTGRAVE_RULESETS sets how many rulesets are tried, PORTGRAVE_SEED the first one's seed: a failure names the seed that repeats it.
package exposure
