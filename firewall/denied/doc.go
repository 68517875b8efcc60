// Package denied reports who was refused. It listens to the firewall's log rules (NFLOG, group
// firewall.NFLOGGroup) and turns packets into events for people and log collectors.
//
//	kernel ─NFLOG─▶ decode ─▶ aggregator ─▶ bounded queue ─▶ JSON lines, CEF, slog
//	                one goroutine, never blocks on a writer │ another one, may be slow
//
// A packet is reported at once if it is the first with its action, service, protocol, port and
// source. Its repetitions become one event with a count at the end of the window of ten seconds. If
// a port has too many sources, the other sources become one event with a count, an estimate of
// their number, and a few examples. So a flood is one line with a number, and the number of events
// in a window is bounded. Memory is bounded too: each table has a size, and what doesn't fit is
// counted in a wider event.
//
// Each packet that the kernel reported is in exactly one event or in the count of losses. Losses
// are reports that the kernel dropped because its socket buffer was full (known from the sequence
// numbers), and events that a writer did not take in time. Losses have an event of their own.
//
// The policy's rules already limit the reports of refused packets for each source
// (firewall.DeniedLogRate). So this package mostly sees packets with spoofed sources, and the
// accepted connections of services with log: all.
//
// It never changes a rule or a verdict, makes the kernel wait (a full buffer drops reports, not
// packets), lets a writer block the reader, wakes up while nothing is reported, exceeds its bounds,
// or trusts a packet to be well-formed. It has one cost: while it listens, the kernel copies the
// head of each logged packet, which takes about a microsecond.
package denied
