// Package nfttext reads what `nft list ruleset` prints, and the commands that people write in
// nftables.conf, into the exposure model.
//
//	lex.go         words, signs, quoted text; replaces what "define" names
//	script.go      commands and blocks, with the place of each rule; chainblock.go, setblock.go
//	load.go        fills a nftjson.Document
//	rule.go        a rule's statements; nat.go, effect.go  the larger ones
//	expression.go  what statements read; primary.go  where in the packet that is
//	value.go       what they compare it with; elements.go  sets
//
// Both languages of nft are equivalent, so they share one translation: this package converts a rule
// to what nft would print with -j, and package nftjson translates that. The grammar is nft(8), as
// nft 1.0.6 to 1.1 print it.
//
// A rule is read statement by statement. From the first statement that isn't understood, the rest
// of the rule becomes one Unknown with its text, which may do anything. Errors are for text whose
// structure is unclear, and for commands that change what was read ("delete rule").
package nfttext
