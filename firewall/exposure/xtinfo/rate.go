package xtinfo

import (
	"math"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// rates decode the rates of matches. Their structs are at least size bytes.
var rates = map[key]struct {
	size int
	rate func(b fields) exposure.Rate
}{
	{"limit", 0}: {8, limitRate}, {"hashlimit", 3}: {298, hashlimitRate},
	{"recent", 0}: {211, recentRate}, {"recent", 1}: {211, recentRate},
}

// rateOf is the rate of a match; the zero Rate if it has none.
func rateOf(i Info) exposure.Rate {
	r, ok := rates[key{i.Name, i.Revision}]
	if !ok || len(i.Data) < r.size {
		return exposure.Rate{}
	}
	return r.rate(i.Data)
}

// limitUnit and hashlimitUnit are the units of the time between packets: 1/XT_LIMIT_SCALE and
// 1/XT_HASHLIMIT_SCALE_v2 of a second.
const (
	limitUnit     = time.Second / 10_000
	hashlimitUnit = time.Second / 1_000_000
)

// limitRate: struct xt_rateinfo { u32 avg, burst; … }, avg in limitUnit between packets.
func limitRate(b fields) exposure.Rate {
	return oneIn(uint64(b.u32(0)), limitUnit, exposure.Rate{Burst: uint64(b.u32(4)), Shared: true})
}

// hashlimitRate: see hashlimitText for the struct; avg is in hashlimitUnit between packets.
func hashlimitRate(b fields) exposure.Rate {
	mode := b.u32(272)
	if mode&(hashlimitBytes|hashlimitRateMatch) != 0 {
		return exposure.Rate{}
	}
	return oneIn(b.u64(256), hashlimitUnit, exposure.Rate{
		Burst:          b.u64(264),
		Over:           mode&hashlimitInvert != 0,
		Shared:         mode&hashlimitSource == 0,
		SourceBits:     shortPrefix(int(b.u8(296))),
		PerPort:        mode&hashlimitDestPort != 0,
		PerClientPort:  mode&hashlimitSourcePort != 0,
		PerDestination: mode&hashlimitDest != 0,
	})
}

// oneIn completes a rate of one packet in a number of units of time.
func oneIn(units uint64, unit time.Duration, r exposure.Rate) exposure.Rate {
	if units == 0 {
		return exposure.Rate{}
	}
	r.Count = 1
	r.Per = time.Duration(min(units, uint64(math.MaxInt64/unit))) * unit
	return r
}

// recentRate: see recentText for the struct.
func recentRate(b fields) exposure.Rate {
	inverted, byDestination := b.u8(9) != 0, b.u8(210) == 1 // XT_RECENT_DEST
	list := b.text(10, 200)
	switch verb := recentVerb(b); {
	case inverted:
		return exposure.Rate{}
	case verb == "set":
		return exposure.Rate{Records: true, List: list}
	case verb == "check" || verb == "update":
		rate := exposure.HitRate(uint64(b.u32(0)), uint64(b.u32(4)), byDestination)
		if rate.Known() {
			rate.List = list
			if len(b) >= 228 { // revision 1 has a mask, union nf_inet_addr
				rate.SourceBits = shortPrefix(exposure.MaskBits(b[212:228]))
			}
		}
		return rate
	}
	return exposure.Rate{}
}

// shortPrefix is a prefix length; 0 for the whole address of either family.
func shortPrefix(n int) uint8 {
	if n == 32 || n >= 128 {
		return 0
	}
	return uint8(n)
}
