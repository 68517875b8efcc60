// Package xtinfo decodes the binary options of x_tables' matches and targets, as iptables-nft leaves them in nf_tables (the expressions
// "match" and "target": a name, a revision, a struct), and says with package xtmatch what they mean.
//
// Layouts are those of include/uapi/linux/netfilter/xt_*.h on the machine's own architecture; decoders quote the struct's name. A name or
// revision that isn't in the tables here, or a struct that is too short for its revision, becomes an Unknown with its name: a match that may hold or
// not, a target that may do anything.
//
// It never reads beyond a struct that it was given, whatever the bytes.
package xtinfo
