package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Room takes no memory until it is used, and then comes in large pages where the kernel knows any.
func TestRoomIsAskedForAndNotTaken(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); errors.Is(err, fs.ErrNotExist) || os.Getpagesize() != 4096 {
		t.Log("this kernel has no large pages, or no small ones")
		return
	}
	if !inFreshProcess(t) {
		return
	}
	const room = 256 << 10 // KiB
	makeRoom(leastRoom - 1)
	if size, _ := inLargePages(t); size != 0 {
		t.Errorf("for a little, %d KiB are asked for in large pages", size)
	}
	makeRoom(room << 10)
	size, taken := inLargePages(t)
	if size < room {
		t.Errorf("%d KiB are asked for in large pages, want %d", size, room)
	}
	if taken > room/4 { // it joins what the heap had before
		t.Errorf("%d KiB of %d are taken", taken, size)
	}
}

// inFreshProcess runs the test once more in a process of its own, where it is true: this one has used memory already, in other tests.
func inFreshProcess(t *testing.T) bool {
	t.Helper()
	if os.Getenv(fresh) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), fresh+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// The first garbage of a run is left, with room for lists or without; then it is collected as was planned.
func TestGarbageIsCollectedLate(t *testing.T) {
	if !inFreshProcess(t) {
		return
	}
	percent := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	collections := func() int {
		var stats debug.GCStats
		debug.ReadGCStats(&stats)
		return int(stats.NumGC)
	}
	litter := func(bytes int) {
		for range bytes >> 16 {
			kept = make([]byte, 1<<16)
		}
	}
	garbage.plan(100, true)
	before := collections()
	if litter(lateHeap / 2); collections() != before {
		t.Error("garbage was collected though there was little")
	}
	roomForLists(leastRoom / roomOfLists)
	if got := percent(); got != 100*lateHeap/leastHeap {
		t.Errorf("with room for short lists, garbage is collected at %d percent", got)
	}
	litter(2 * lateHeap)
	for range 1000 { // what follows a collection runs beside us
		if percent() == 50 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if got := percent(); got != 50 || collections() == before {
		t.Errorf("after the first collection, garbage is collected at %d percent", got)
	}
	garbage.plan(100, true)
	if roomForLists(lateHeap); percent() != 50 {
		t.Errorf("with long lists, garbage is collected at %d percent from the beginning", percent())
	}
	garbage.plan(100, false)
	runtime.GC()
	if got := percent(); got != 100 {
		t.Errorf("a plan that was given up came into force: %d percent", got)
	}
}

var kept []byte

// fresh is set in the process that the test starts for itself.
const fresh = "PORTGRAVE_TEST_FRESH"

// inLargePages is the size of the mappings that are asked for in large pages, and how much of them is there, in KiB (proc_pid_smaps(5)).
func inLargePages(t *testing.T) (size, resident int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	var of, in int
	for line := range strings.Lines(string(maps)) {
		name, value, _ := strings.Cut(line, ":")
		number := func() int {
			n, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return n
		}
		switch name {
		case "Size":
			of = number()
		case "Rss":
			in = number()
		case "VmFlags":
			if strings.Contains(value, " hg") {
				size, resident = size+of, resident+in
			}
		}
	}
	return size, resident
}
