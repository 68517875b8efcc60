package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Daemon is a program that runs beside what is measured.
type Daemon struct {
	cmd  *exec.Cmd
	said bytes.Buffer
}

// startDaemon starts a daemon and waits until it has made its socket.
func startDaemon(cmd *exec.Cmd, socket string, limit time.Duration) (*Daemon, error) {
	d := &Daemon{cmd: cmd}
	cmd.Stdout, cmd.Stderr = &d.said, &d.said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for start := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return d, nil
		}
		if time.Since(start) > limit {
			_, said := d.End()
			return nil, fmt.Errorf(
				"the daemon has no socket after %v, and has said:\n%s",
				limit,
				said,
			)
		}
	}
}

// End ends it. peak is how much memory it held at most, said is what it wrote.
func (d *Daemon) End() (peak uint64, said []byte) {
	peak = peakMemory(d.cmd.Process.Pid)
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait()
	return peak, d.said.Bytes()
}
