package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// errTimeout: the program was killed, since it took too long.
var errTimeout = errors.New("it takes longer than it may")

// Run is a program that was run.
type Run struct {
	Took   time.Duration
	Peak   uint64 // bytes; 0: it ended too soon to be seen
	Exit   int
	Stdout []byte
}

// RunOptions of Measure.
type RunOptions struct {
	Stdin string   // path of a file; "" is no input
	Env   []string // besides a bare PATH and HOME
	Limit time.Duration
	// Discard has the program's output read and thrown away.
	Discard bool
	// Fine are exit codes that are as good as 0.
	Fine []int
}

// timeProgram runs a program in the network namespace of the calling thread, which must be locked
// to it.
func timeProgram(ctx context.Context, o RunOptions, name string, args ...string) (Run, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(
		[]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C"},
		o.Env...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stderr = &stderr
	if !o.Discard {
		cmd.Stdout = &stdout
	}
	if o.Stdin != "" {
		in, err := os.Open(o.Stdin)
		if err != nil {
			return Run{}, err
		}
		defer in.Close()
		cmd.Stdin = in
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Run{}, fmt.Errorf("starting %s: %w", name, err)
	}
	ended, peak := make(chan struct{}), make(chan uint64)
	go func() { peak <- watch(cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	r := Run{Took: time.Since(start), Stdout: stdout.Bytes()}
	close(ended)
	r.Peak = <-peak
	r.Exit = cmd.ProcessState.ExitCode()
	if ctx.Err() != nil {
		return r, errTimeout
	}
	if err != nil {
		for _, code := range o.Fine {
			if r.Exit == code {
				return r, nil
			}
		}
		return r, fmt.Errorf(
			"%s %s: %w: %s",
			name,
			strings.Join(args, " "),
			err,
			shortened(stderr.String()),
		)
	}
	return r, nil
}

// watch follows the peak of a process until it has ended.
func watch(pid int, ended <-chan struct{}) (peak uint64) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		peak = max(peak, peakMemory(pid))
		select {
		case <-ended:
			return peak
		case <-tick.C:
		}
	}
}

// peakMemory is the largest resident set that a running process has had so far, in bytes; 0 if that
// can't be known.
func peakMemory(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	return highWater(b)
}

// highWater reads VmHWM out of /proc/PID/status, in bytes; 0 if it isn't there, as in a zombie's.
func highWater(status []byte) uint64 {
	_, rest, ok := bytes.Cut(status, []byte("VmHWM:"))
	if !ok {
		return 0
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, err := strconv.ParseUint(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// shortened keeps the first lines of what a program complains of.
func shortened(s string) string {
	const most = 2000
	if s = strings.TrimSpace(s); len(s) > most {
		return s[:most] + " …"
	}
	return s
}
