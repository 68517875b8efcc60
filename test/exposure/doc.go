// Package exposure holds the kernel's judgement of package firewall/exposure: random rulesets, written as a model and as scripts for nft and
// iptables at once, are loaded into a world of test/lab, asked about from the sources where something changes, and compared with the evaluator's answer:
//
//	certain ⊆ what got through ⊆ possible
//
// with equality where the two are equal. Nothing is read back, so that a mistake of a reader can't hide one of the evaluator.
//
// PORTGRAVE_RULESETS sets how many rulesets are tried, PORTGRAVE_SEED the first one's seed: a failure names the seed that repeats it.
package exposure
