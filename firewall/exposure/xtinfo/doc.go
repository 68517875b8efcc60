// Package xtinfo decodes the binary options of x_tables' matches and targets, as iptables-nft
// stores them in nf_tables (the expressions "match" and "target": a name, a revision, a struct).
// Package xtmatch translates them.
//
// Layouts are those of include/uapi/linux/netfilter/xt_*.h on the machine's own architecture;
// decoders name the struct. An unknown name or revision, or a struct that is too short, becomes an
// Unknown with its name: a match that may hold or not, a target that may do anything.
//
// The package never reads beyond a struct, whatever the bytes.
package xtinfo
