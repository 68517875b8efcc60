package firewall

import (
	"math"
	"time"
)

// What both backends tell NFLOG listeners, so that a listener need not know which one runs.
const (
	// NFLOGGroup is where refused and logged packets are reported (a number of our own).
	NFLOGGroup = 9090
	// NFLOGSize is how many bytes of a logged packet are reported: enough for IPv6, TCP and
	// options.
	NFLOGSize = 128
	// LogPrefixDenied and LogPrefixAllowed stand before the service's name in a report's prefix.
	LogPrefixDenied  = "portgrave:denied:"
	LogPrefixAllowed = "portgrave:allowed:"
	// LogLabelUnlisted is the name in reports on ports that no service lists.
	LogLabelUnlisted = "unlisted"
	// LogLabelSpoofed is the name in reports on packets from outside that bear one of the host's
	// own addresses as their source.
	LogLabelSpoofed = "spoofed"
	// LogLabelDirect is the name in reports on packets to State.Direct that this host did not DNAT.
	LogLabelDirect = "direct"
)

// DeniedLogRate is how often one source's refused packets are reported, over all services together.
var DeniedLogRate = Rate{Count: 10, Per: time.Minute, Burst: 5}

// RateMemorySize is how many sources' rates the kernel remembers for one service and family: a
// bound on what a flood of spoofed sources can make it remember. While it is full, sources that are
// not among them are refused.
const RateMemorySize = 1 << 20

// LogMemorySize is how many sources' refused packets the kernel counts, to report each source now
// and then only. While it is full, other sources are refused without a report.
const LogMemorySize = 1 << 16

// Refill is how long a spent burst takes to fill up again, in seconds rounded up; the longest
// Duration if it takes longer.
func (r Rate) Refill() time.Duration {
	seconds := (uint64(r.Burst)*uint64(r.Per/time.Second) + uint64(r.Count) - 1) / uint64(r.Count)
	return time.Duration(min(seconds, uint64(math.MaxInt64/time.Second))) * time.Second
}

// Memory is how long a silent source's rate is remembered: until its burst has filled up again,
// when it is as good as a new one, and thirty days at most. No longer, so that a flood's sources
// are forgotten soon.
func (r Rate) Memory() time.Duration { return min(r.Refill(), 30*24*time.Hour) }

// ExpiryTolerance is by how much two ends of one expiring source may differ and still be the same:
// the kernel counts down in its own clock, and reports whole seconds or less.
const ExpiryTolerance = 2 * time.Second
