// Package denied tells who was refused. It listens to what the firewall's log rules report (NFLOG, group
// firewall.NFLOGGroup) and turns packets into events that a person, or a log collector, can read.
//
//	kernel ─NFLOG─▶ decode ─▶ aggregator ─▶ bounded queue ─▶ JSON lines, CEF, slog
//	                one goroutine, never waits for a writer │ another, may be slow
//
// A packet is reported at once if nobody like it was seen lately: same action, service, protocol, port and source. Its
// repetitions become one event with a count at the end of the window, ten seconds long. Where too many sources
// ask for one port, the further ones become one event with a count, an estimate of how many they were, and a few
// examples. So a flood is a line with a number, whatever its sources are, and the number of events in a window
// is bounded. So is memory: every table has a size, and what does not fit is folded, never forgotten.
//
// Every packet that the kernel reported ends in exactly one event or in the count of losses: those that the
// kernel dropped because its socket buffer was full (known from the sequence numbers of its messages), and those whose
// events a writer did not take in time. Losses are said in an event of their own.
//
// The policy's rules already thin out the reports of refused packets (firewall.DeniedLogRate, for each source). What
// arrives here is what spoofed sources still can do, and the accepted connections of services with log: all.
//
// What it never does: change a rule or a verdict, make the kernel wait (a full buffer drops reports, not packets), let
// a writer hold up the reading, wake up while nothing is reported, keep more than its bounds, or trust a packet to be
// well-formed. What it can't avoid: while somebody listens, the kernel copies the head of each logged packet, which
// costs about a microsecond; while nobody does, nothing.
package denied
