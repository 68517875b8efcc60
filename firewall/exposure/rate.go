package exposure

import (
	"math"
	"slices"
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
	// Records: the condition only records the packet, and always holds (recent --set). The other
	// fields are zero.
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
	r.Shared = r.Known() && !slices.ContainsFunc(s.Key, func(o Operand) bool {
		return o == Of(FieldSource4) || o == Of(FieldSource6)
	})
	return r
}
