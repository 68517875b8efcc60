// Package effect tells what a plan means for people: who gains and who loses access to what listens
// or is published on the host, through everybody's rules.
//
//	State ─▶ nft messages, or iptables-save text ─▶ readers of the exposure model ─┐
//	                                                                               ▼
//	live rules ──────────────────────────────────────────────▶ live rules, ours replaced
//	     │                                                              │
//	     └──────────────────▶ audit.Compare: two audits ◀───────────────┘
//
// There is one evaluator: the rules that would be written are read by what reads the kernel's, so
// an effect differs from two audits, before and after, only where the host changes meanwhile.
//
// The package is pure. Its callers read the host.
package effect
