// Package rulesetfile loads the files that an audit is given instead of a kernel: the outputs of
// iptables-save, ip6tables-save, `nft list ruleset`, with or without -j, and `ipset save`, each
// recognised by what is in it, several of them into one Ruleset.
//
//	text ── split ─┬─ iptables, ip6tables ─▶ package xtables
//	               ├─ ipset               ─▶ package xtables, before the rules that name its sets
//	               ├─ nft text            ─▶ package nfttext ─┐
//	               └─ nft JSON            ─▶ package nftjson ◀┘
//
// One file may hold the output of several commands: see parts.go. Nothing is guessed: text that
// could be of two formats, or belongs to none, is refused with what to do.
package rulesetfile
