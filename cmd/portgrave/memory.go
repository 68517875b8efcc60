package main

import (
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// Lists of a million sources take tens of megabytes, which the kernel hands out a page at a time; that took longer than all that is done
// with them. In pages of 2 MiB (Documentation/admin-guide/mm/transhuge.rst: with "madvise", as distributions have it, for who asks; Go does not) a
// million IPv4 sources are loaded in 0.7 s instead of 0.95, IPv6 in 1.2 instead of 1.9.

const (
	// longLists is from how many bytes of lists on it is worth the effort: some 70 000 sources.
	longLists = 1 << 20
	// roomPerByte is about how much memory is in use at once for each byte of lists, or of a State in the history.
	roomPerByte = 4
	// mostRoom bounds it, whatever a file's size is.
	mostRoom = 512 << 20
)

var once sync.Once

// makeRoom is told how many bytes of lists are about to be read. If they are long, garbage may from now on take half as much memory as what is in use, not
// as much again, and the heap's next memory comes in large pages: it is taken, asked for in that form without being touched, and given
// back to the heap. Later calls do nothing: what a daemon gave back has been touched.
func makeRoom(bytes int64) {
	if bytes < longLists {
		return
	}
	once.Do(func() {
		debug.SetGCPercent(50)
		room := make([]byte, min(roomPerByte*bytes, mostRoom))
		_ = unix.Madvise(room, unix.MADV_HUGEPAGE) // a kernel that can't, or has pages of 64 KiB, does as it always did
		runtime.KeepAlive(room)
		room = nil
		runtime.GC()
	})
}
