// Package nfttext reads what `nft list ruleset` prints, and the commands that people write in
// nftables.conf, into the exposure model.
//
//	lex.go         words, signs, quoted text; what "define" names is put in their place
//	script.go      commands and blocks, and where each rule is; chainblock.go, setblock.go
//	load.go        all of it into a nftjson.Document
//	rule.go        a rule's statements; nat.go, effect.go  the larger ones
//	expression.go  what statements read; primary.go  where in the packet that is
//	value.go       what they compare it with; elements.go  sets
//
// Both languages of nft say the same, so there is one translation for them: this package makes of a
// rule what nft would print with -j, and package nftjson goes on. The grammar is nft(8), as nft 1.0.6
// to 1.1 print it.
//
// A rule is read statement by statement. What comes behind the first one that isn't understood is one
// Unknown with its text, which may do anything. Errors are for text of which it isn't clear where
// things end, and for commands that would change what was read ("delete rule").
package nfttext
