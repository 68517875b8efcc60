// Package nftables holds the kernel's nf_tables objects as Go types: Table, Chain, Rule with its
// expressions, Set, Element, and a Snapshot of one settled generation.
//
// It is for everybody who reads or writes nf_tables. The backend (firewall/nft) compares the
// rules that it wants with those that the kernel holds; the audit (firewall/exposure/nftables)
// runs the rules of all tables. Both work on these types, so nothing is parsed back out of text.
//
// How it works:
//
//   - An expression is a struct that reads like its attributes in the kernel's header
//     (include/uapi/linux/netfilter/nf_tables.h). One method lists the attributes; reading,
//     writing and comparing all follow from it (codec.go).
//   - Two expressions are equal if they do the same: Equal ignores what counts packets, and what
//     only names an object within a transaction.
//   - An expression that doesn't fit its type, or whose type isn't here, stays whole as Unknown,
//     with its bytes. It equals only itself and is written as it was read.
//   - Rule.String writes a rule as nft does, as far as its expressions are known. What it writes
//     of the backend's rules loads as the same rules.
//
// The package is pure: it opens no socket, asks nobody, and never changes anything in the kernel.
package nftables
