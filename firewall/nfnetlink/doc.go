// Package nfnetlink asks the kernel's netfilter subsystems (nf_tables, ipset, the hook lists) over
// netlink.
//
// It knows three layers and nothing above them: the socket (Conn), messages (EachMessage),
// attributes (Each, Parse). Decoders get byte slices and nothing else, so they can be tested, and
// fuzzed, without a kernel.
//
// A dump is read into one buffer of 32 KiB: the kernel walks the dumped object anew for each
// message that it sends, and never sends more than that at once (net/netlink/af_netlink.c,
// netlink_dump), so a smaller one makes big sets several times slower.
//
// It never changes anything: there is no way to send a message that does. The only transaction that
// it knows is the empty one (EmptyBatch).
package nfnetlink
