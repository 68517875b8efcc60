// Package xtables reads what iptables and ipset print into the exposure model: iptables-save and
// ip6tables-save output of either variant, `ipset save`, and, on the live host, the legacy tables.
// Package iptsave reads the form of these texts; this one knows what they mean.
//
//	iptables-save text ─▶ iptsave.Read, ParseRule ─▶ save.go, rule.go ─┐
//	                                                                   ├─▶ Match, Assign, NAT, Verdict, …
//	ipset save text ─▶ iptsave.ReadSets ─▶ ipset.go, elements.go,      │
//	                                       nomatch.go ─▶ lookup.go ────┘
//
// One file a subject: header.go has -s, -i, -p; transport.go ports, TCP flags, ICMP; conntrack.go;
// matches.go the other matches; marks.go, nat.go and targets.go what rules do; impossible.go what
// no iptables takes. Each says what the kernel's function does with the option, since the model's
// statements have to come to the same.
//
// A match or target it doesn't know, or whose value it can't read, becomes Unknown with its text.
// Text that isn't the output of these programs, and text that ends in the middle, is an error that
// says where.
//
// It never changes anything, never loads a kernel module (legacy tables are asked for only where
// /proc says that they are in use), and never resolves a name: host and service names, which the
// programs don't print, are Unknown.
package xtables
