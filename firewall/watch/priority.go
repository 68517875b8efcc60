package watch

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Urgent gives the calling goroutine's thread real-time priority until the goroutine calls calm. It
// is for work of milliseconds: reading the author of a commit, who may live for one or two more
// (with a long run queue this halves the executables that are read too late), and undoing the
// commit. If the work takes longer, the kernel's limit on real-time threads holds.
//
// It needs CAP_SYS_NICE and a unit without RestrictRealtime. Without these, it does less or
// nothing.
func Urgent() (calm func()) {
	runtime.LockOSThread()
	thread := unix.Gettid()
	realtime := unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   unix.SCHED_FIFO,
		Priority: 1, // the lowest real-time priority: above all ordinary threads
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
	}
	ordinary := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
	undo := func() error { return unix.SchedSetAttr(thread, &ordinary, 0) }
	if unix.SchedSetAttr(thread, &realtime, 0) != nil {
		undo = func() error { return nil }
		// getpriority(2) counts from 40 down to 1, setpriority from -20 to 19. Restore the niceness
		// that the unit may have set.
		now, err := unix.Getpriority(unix.PRIO_PROCESS, thread)
		if err == nil && unix.Setpriority(unix.PRIO_PROCESS, thread, -20) == nil {
			undo = func() error { return unix.Setpriority(unix.PRIO_PROCESS, thread, 20-now) }
		}
	}
	return func() {
		if undo() == nil { // otherwise the thread ends with the goroutine
			runtime.UnlockOSThread()
		}
	}
}
