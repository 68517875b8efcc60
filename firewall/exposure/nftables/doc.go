// Package nftables reads all of nf_tables of a network namespace into exposure's tables, over
// netlink.
//
//	          Take                       Decode (pure)
//	kernel ─────────▶ Dump, raw messages ────────────▶ exposure.Tables
//	          hooks' order, generation        │
//	                                          ├─ tables, chains, objects    chain.go, object.go
//	                                          ├─ sets, elements             set.go, element.go, fill.go
//	                                          └─ rules                      rule.go, and a file for each kind of expression
//
// The objects' types, and how they are read from netlink, are those of firewall/netlink/nftables.
//
// A rule in the kernel is a little program: expressions that load bytes into registers, change
// them, compare them. The reader runs it symbolically. A register's bytes (registers.go) are
// constants, operands of the model or what a map holds; loads write such pieces, bitwise and
// byteorder change them, and what compares, looks up or translates turns them into statements. So a
// mask, a shift or a prefix that was loaded as one byte comes out as the Operand or Range it means,
// whichever program wrote it.
//
// Sets in the kernel are bytes without a type: which columns they have, and in which byte order, is
// told by the registers that are looked up in them. So a set gets its columns from the rules that
// use it (variant in set.go), and only without any from what nft noted about its types.
//
// Package xtinfo decodes what iptables-nft leaves in x_tables' own structs.
//
// What isn't known stays: an expression never heard of is an Unknown effect with its name, an
// expression that can't be expressed an Unknown with its meaning, a set that doesn't fit a Set with
// Unknown. Nothing in the bytes makes the reader panic or loop.
//
// One dump is of one ruleset: it is taken again if the kernel's generation moved meanwhile, or if
// the kernel says so itself.
package nftables
