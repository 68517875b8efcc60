package main

import (
	"runtime/debug"
	"sync"
)

// spare is called when lists turn out to be long. From then on garbage may take half as much memory as what is in use, not as much again: a
// million sources are changed in 70 MB instead of 85, in about the same time. A short run, for which collecting at all would be a waste, never gets there.
var spare = sync.OnceFunc(func() { debug.SetGCPercent(50) })
