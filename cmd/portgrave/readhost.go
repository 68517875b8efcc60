package main

import (
	"context"
	"runtime/debug"

	"github.com/portgrave/portgrave/firewall/exposure/live"
)

// Long lists make garbage of tens of megabytes, in which the collector has nothing to follow. So it
// runs more often: a list of a million takes half of the memory, and hardly more time.
const (
	longLists        = 100_000 // elements in the host's sets
	longListsPercent = 20      // of GOGC
)

// readHost reads the host. done is to be called when the questions about it are answered.
func readHost(ctx context.Context) (host live.Host, done func(), err error) {
	host, err = live.Read(ctx)
	if err != nil || host.Rules.Elements() < longLists {
		return host, func() {}, err
	}
	before := debug.SetGCPercent(longListsPercent)
	return host, func() { debug.SetGCPercent(before) }, nil
}
