package watch

import "golang.org/x/sys/unix"

// beUrgent has the kernel run the calling thread as soon as it is woken, before whatever else waits for
// the processor: the author of a commit lives for another millisecond or two. On a machine with a long run queue this
// halves the executables that come too late. The thread has little to do each time; were it
// otherwise, the kernel's limit on real-time threads would hold.
//
// It needs CAP_SYS_NICE and a unit without RestrictRealtime; what is refused is done without.
func beUrgent() {
	thread := unix.Gettid()
	realtime := unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   unix.SCHED_FIFO,
		Priority: 1, // the least: before all ordinary threads, after any other real-time one
		Flags:    unix.SCHED_FLAG_RESET_ON_FORK,
	}
	if unix.SchedSetAttr(thread, &realtime, 0) != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, thread, -20)
	}
}
