package main

import (
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// A million sources take tens of megabytes, and ten thousand services hundreds, which the kernel hands out a page at a time; on some virtual machines that takes
// longer than all that is done with them. In pages of 2 MiB (Documentation/admin-guide/mm/transhuge.rst: with "madvise", as distributions have it, for
// who asks; Go does not) a million IPv4 sources were loaded in 0.55 s instead of 0.77 there, and IPv6 in 0.9 instead of 2.0.

// How much memory is in use at once, about, for each byte of …
const (
	roomOfLists = 4   // … lists, or of a State in the history
	roomOfText  = 150 // … the policy's own files
	// roomOfAudit is what an audit of ten thousand rules takes.
	roomOfAudit = 64 << 20
)

const (
	// leastRoom is from when on it is worth the effort.
	leastRoom = 4 << 20
	// mostRoom bounds it, whatever a file's size is.
	mostRoom = 512 << 20
)

// collection is when garbage is collected, in the whole process.
type collection struct {
	mu      sync.Mutex
	percent int  // as soon as there is so much of it, of what is in use
	late    bool // but not before the heap has lateHeap bytes
	plans   int
}

// garbage is collected as Go does by itself, until somebody plans something else.
var garbage = collection{percent: 100}

const (
	// lateHeap is what a run of the command line may have before garbage is collected for the first time: by then most are over, and ending is cheaper.
	lateHeap = 32 << 20
	// leastHeap is Go's own bound for the same, at 100 percent (defaultHeapMinimum in runtime/mgcpacer.go).
	leastHeap = 4 << 20
)

// plan says when garbage is collected from now on. What is late is so once: after that, percent alone counts.
func (c *collection) plan(percent int, late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.percent, c.late = percent, late
	c.plans++
	if !late {
		debug.SetGCPercent(percent)
		return
	}
	debug.SetGCPercent(100 * lateHeap / leastHeap)
	runtime.AddCleanup(new([64]byte), func(plan int) { // by the first collection
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.plans == plan {
			c.late = false
			debug.SetGCPercent(c.percent)
		}
	}, c.plans)
}

func (c *collection) planned() (percent int, late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.percent, c.late
}

// From how much memory on a command rather works longer than takes more. It is a mark to aim at, not
// a limit: what is in use is never refused.
const (
	memoryOfAudit = 120 << 20
	memoryOfFiles = 360 << 20
)

// frugally has garbage collected more and more often as the memory nears so many bytes, and before
// that when there is half as much of it as of what is in use.
func frugally(bytes int64) {
	_, late := garbage.planned()
	garbage.plan(50, late)
	debug.SetMemoryLimit(bytes)
}

var roomMade sync.Once

// makeRoom is told how much memory is about to be used. If that is much, the heap's next memory comes in large pages: it is taken, asked for in that
// form without being touched, and given back to the heap. Later calls do nothing: what a daemon has given back was touched.
func makeRoom(bytes int64) {
	if bytes < leastRoom {
		return
	}
	roomMade.Do(func() {
		room := make([]byte, min(bytes, mostRoom))
		_ = unix.Madvise(room, unix.MADV_HUGEPAGE) // a kernel that can't, or has pages of 64 KiB, does as it always did
		runtime.KeepAlive(room)
		room = nil
		percent, late := garbage.planned()
		runtime.GC() // which is none that was waited for
		garbage.plan(percent, late)
	})
}

// roomForLists is makeRoom for so many bytes of lists. Of long ones garbage may take half as much memory as what is in use, not as much again, which costs
// nothing: they are few and large objects.
func roomForLists(bytes int64) {
	room := roomOfLists * bytes
	if room >= leastRoom {
		_, late := garbage.planned()
		late = late && room < lateHeap
		garbage.plan(50, late)
		if late {
			room = max(room, lateHeap-leastHeap) // garbage takes new memory too
		}
	}
	makeRoom(room)
}
