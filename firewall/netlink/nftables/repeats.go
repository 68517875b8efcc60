package nftables

import (
	"fmt"
	"time"
)

// Bounds of UntilNoneRepeats: a second of pauses.
const (
	maxReadings  = 100
	readingPause = 10 * time.Millisecond
)

// UntilNoneRepeats reads the elements of a set that is a hash table, again and again until none
// came twice; pause waits between two readings.
//
// A hash table that declares no size and has grown or shrunk is sorted anew by a worker of the
// kernel's, some milliseconds after the transaction (net/netfilter/nft_set_hash.c, nft_rhash;
// lib/rhashtable.c). A dump takes a message for every 32 KiB and counts, in each, the elements of
// those before. If their order changes in between, some come twice and as many not at all, in one
// and the same generation: of 65 537 ports once 7 472. A walk itself leaves nothing out, so nothing
// is missing where nothing came twice.
func UntilNoneRepeats(pause func(time.Duration) error, read func() (twice bool, err error)) error {
	for range maxReadings {
		if twice, err := read(); err != nil || !twice {
			return err
		}
		if err := pause(readingPause); err != nil {
			return err
		}
	}
	return fmt.Errorf(
		"elements came twice, %d times in a row: the kernel has not finished sorting "+
			"them; try again",
		maxReadings,
	)
}
