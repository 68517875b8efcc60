// Package nftjson reads the output of `nft -j list ruleset` into the exposure model, for audits of hosts that aren't at hand.
//
//	read.go        the document: objects, and where in the text they are
//	ruleset.go     tables, chains, rules
//	sets.go        sets and maps, named and in rules; elements.go their elements
//	statements.go  what a rule does;  match.go, nat.go, mangle.go  the larger ones
//	operands.go    what it reads;     fields.go  where in the packet that is
//	constants.go   the names that nft prints for numbers
//	text.go        rules as people write them
//
// The format is libnftables-json(5), as nft 1.0.6 (Debian 12) to 1.1 print it; where manual and program differ, the program counts.
// Its listing leaves out what follows from the rest: "ip saddr" in an inet table implies a match for IPv4, "tcp dport" one for TCP.
// The reader puts these back, since to the kernel they are part of the rule.
//
// What this format doesn't tell, and what becomes of it:
//
//   - nft 1.0.6 doesn't print the devices of ingress chains, and prints a table's name instead of its flags. Both are Missing;
//   - "xt" statements of iptables-nft come without their contents: unknown;
//   - the index of an interface (iif) is printed as the interface's name, so it is read as one;
//   - when the listing was taken isn't in it, so elements that expire have no time.
//
// Document is what a listing becomes on its way into the model; package nfttext fills one from nft's other language.
//
// It never runs nft, and never drops a statement: what it doesn't know is Unknown with its text.
package nftjson
