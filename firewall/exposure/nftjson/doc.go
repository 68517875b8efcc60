// Package nftjson reads the output of `nft -j list ruleset` into the exposure model, for audits of
// other hosts.
//
//	read.go        the document: objects, and where in the text they are
//	ruleset.go     tables, chains, rules
//	sets.go        sets and maps, named and in rules; elements.go their elements
//	statements.go  what a rule does;  match.go, nat.go, mangle.go  the larger ones
//	operands.go    what it reads;     fields.go  where in the packet that is
//	constants.go   the names that nft prints for numbers; impossible.go  what no nft loads
//	text.go        rules as people write them
//
// The format is libnftables-json(5), as nft 1.0.6 (Debian 12) to 1.1 print it; where they differ
// from the manual, the program counts. Its listing omits implied matches: "ip saddr" in an inet
// table implies IPv4, "tcp dport" implies TCP. The reader restores them, since they are part of the
// kernel's rule.
//
// What the format omits, and how the reader treats it:
//
//   - nft 1.0.6 doesn't print the devices of ingress chains, and prints a table's name instead of its flags. Both are Missing;
//   - "xt" statements of iptables-nft come without their contents: unknown;
//   - the index of an interface (iif) is printed as the interface's name, so it is read as one;
//   - the time of the listing isn't in it, so expiring elements have no time.
//
// A Document is a listing on its way into the model. Package nfttext fills one from nft's text.
//
// The package never runs nft and never drops a statement: what it doesn't know becomes Unknown with
// its text.
package nftjson
