// Package xtmatch says in exposure's words what the options of x_tables' matches and targets mean, whoever read them: from
// binary structs in the kernel (package nftables) or from the text of iptables-save.
//
// A function here is an option, or a group of options that the kernel tests together. Arguments are what the option says, already
// parsed: numbers, ranges, a "!". The result is statements. Each function names the kernel source that it follows, where the
// kernel does something that the manual page doesn't tell.
//
// It parses nothing, and knows nothing of chains and tables.
package xtmatch
