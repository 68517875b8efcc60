// Package packets measures what rules cost a packet: TCP connects and small UDP packets a second from the office to the host of a lab world, with rules and without
// them, in turn.
//
// Two worlds stand side by side, a bare one and one with the rules. Sender and receiver are one thread, held to one core: it sends a burst, the kernel carries each packet through
// the host's hooks before the call returns (a veth pair does not wait), and the thread reads what has arrived. So a rate counts all the work on both sides, and the rules
// cost as large a part of it as they would on a host that does nothing but answer. Turns are short, some
// milliseconds, and the middlemost burst or connect of a turn counts, so that whatever else the machine does meets few of them, and both halves of a pair alike.
//
// UDP packets are frames that were made beforehand, sent many at a call, from sources in the last hundredth of the list; the receiver reads them one at a call, as
// servers do; each source was answered once before, so that its packets belong to a connection that runs. TCP connects are full ones, accepted and reset.
package packets
