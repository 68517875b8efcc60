package exposure

import (
	"math"
	"math/bits"
	"time"
)

// Rate is what a rule's condition allows in a time: nft's limit; x_tables' limit, hashlimit and
// recent. The zero Rate stands for a condition that isn't a rate, or a rate of bytes.
type Rate struct {
	Count uint64        // packets in each Per
	Per   time.Duration // above 0
	Burst uint64        // packets that may come at once; 0 if the rule doesn't say
	// Over: the condition holds for packets beyond the rate, and else for those within it.
	Over bool
	// Shared: all sources are counted together, not each on its own.
	Shared bool
	// SourceBits is the length of the source prefixes that are counted together; 0: each address is
	// counted on its own.
	SourceBits uint8
	// PerPort, PerClientPort and PerDestination: packets with different ports, client ports or
	// destinations are counted apart.
	PerPort, PerClientPort, PerDestination bool
	// List is the name of what several rules count in: recent's list, or nft's named limit. "" if a
	// rule counts alone.
	List string
	// Records: the condition only records the packet, and always holds (recent --set). The other
	// fields but List are zero.
	Records bool
}

// Known reports whether a condition is a rate.
func (r Rate) Known() bool { return r != Rate{} }

// HitRate is the rate of a condition that holds from the hits-th packet within so many seconds on
// (recent --seconds --hitcount): one packet fewer is allowed. The zero Rate if either number allows
// anything. Shared is as in Rate.
func HitRate(seconds, hits uint64, shared bool) Rate {
	const most = uint64(math.MaxInt64 / time.Second)
	if seconds == 0 || hits < 2 {
		return Rate{}
	}
	per := time.Duration(min(seconds, most)) * time.Second / time.Duration(min(hits-1, most))
	return Rate{Count: 1, Per: max(per, 1), Burst: hits - 1, Over: true, Shared: shared}
}

// perElement is an update's rate, which counts for each element of the set: for each source, where
// the key has it.
func (s SetUpdate) perElement() Rate {
	r := s.Rate
	if !r.Known() {
		return r
	}
	r.Shared = true
	for _, o := range s.Key {
		switch o.Field {
		case FieldSource4, FieldSource6:
			if !o.asIs() && !o.isPrefixMask() {
				continue
			}
			r.Shared = false
			if !o.asIs() {
				r.SourceBits = uint8(
					o.Width() - bits.OnesCount64(o.Clear.hi) - bits.OnesCount64(o.Clear.lo),
				)
			}
		case FieldDport:
			r.PerPort = true
		case FieldSport:
			r.PerClientPort = true
		case FieldDest4, FieldDest6:
			r.PerDestination = true
		}
	}
	return r
}

// MaskBits is the number of leading ones of a mask.
func MaskBits(mask []byte) (n int) {
	for _, b := range mask {
		n += bits.LeadingZeros8(^b)
		if b != 0xff {
			break
		}
	}
	return n
}
