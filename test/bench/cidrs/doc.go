// Package cidrs makes the allowlists that the benchmarks load, and writes each as every contestant reads it: a network file of
// a policy, a script for nft, one for ipset restore, rules for iptables-restore.
//
// A list is random in its places and prefix lengths (drawn as they are in country lists), the same for the same number, sorted, without
// overlaps or neighbours that could be merged. It is pure; callers write the files.
package cidrs
