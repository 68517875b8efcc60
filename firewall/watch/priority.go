package watch

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Urgent has the kernel run the calling goroutine as soon as it can run, before whatever else waits for the processor, until calm
// is called by the same goroutine. It is for what lasts milliseconds: reading who made a commit, who lives for another one or two (on
// a machine with a long run queue this halves the executables that come too late), and undoing it. Should it last longer after all, the
// kernel's limit on real-time threads holds.
//
// It needs CAP_SYS_NICE and a unit without RestrictRealtime; what is refused is done without.
func Urgent() (calm func()) {
	runtime.LockOSThread()
	thread := unix.Gettid()
	realtime := unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   unix.SCHED_FIFO,
		Priority: 1, // the least: before all ordinary threads, after any other real-time one
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
	}
	ordinary := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}
	undo := func() error { return unix.SchedSetAttr(thread, &ordinary, 0) }
	if unix.SchedSetAttr(thread, &realtime, 0) != nil {
		undo = func() error { return nil }
		// The system call counts from 40 down to 1 (getpriority(2)). The unit may have given the process a niceness, to which the thread could not return
		// by itself if it were lost.
		if now, err := unix.Getpriority(unix.PRIO_PROCESS, thread); err == nil && unix.Setpriority(unix.PRIO_PROCESS, thread, -20) == nil {
			undo = func() error { return unix.Setpriority(unix.PRIO_PROCESS, thread, 20-now) }
		}
	}
	return func() {
		if undo() == nil { // else the thread ends with the goroutine: none of its urgency is left to others
			runtime.UnlockOSThread()
		}
	}
}
