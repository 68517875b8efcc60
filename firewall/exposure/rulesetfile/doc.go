// Package rulesetfile loads the files that an audit is given instead of a kernel: the outputs of iptables-save, ip6tables-save,
// `nft -j list ruleset` and `ipset save`, each recognised by what is in it, several of them into one Ruleset.
//
//	text ── Detect ─┬─ iptables, ip6tables ─▶ package xtables
//	                ├─ ipset               ─▶ package xtables, before the rules that name its sets
//	                └─ nft JSON            ─▶ package nftjson
//
// It opens no files and guesses nothing: a text that could be of two formats is refused with what to do.
package rulesetfile
