package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

var spare = sync.OnceFunc(func() {
	gc, _ := strconv.Atoi(os.Getenv("ZGC"))
	if gc == 0 {
		gc = 50
	}
	debug.SetGCPercent(gc)
	n, _ := strconv.Atoi(os.Getenv("ZMB"))
	if n == 0 {
		return
	}
	b := make([]byte, n<<20)
	if err := unix.Madvise(b[:len(b)&^4095], unix.MADV_HUGEPAGE); err != nil {
		println(err.Error())
	}
	runtime.KeepAlive(b)
	b = nil
	runtime.GC()
})
