package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestHighWater(t *testing.T) {
	for in, want := range map[string]uint64{
		"Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n": 2 << 20,
		"Name:\tx\nState:\tZ\n":                          0,
		"VmHWM:":                                         0,
		"VmHWM: many kB":                                 0,
	} {
		if got := highWater([]byte(in)); got != want {
			t.Errorf("%q: %d, want %d", in, got, want)
		}
	}
}

func TestMeasure(t *testing.T) {
	ctx := context.Background()
	r, err := timeProgram(ctx, RunOptions{Limit: time.Minute}, "sh", "-c", "sleep 0.1; echo done")
	if err != nil || string(r.Stdout) != "done\n" || r.Took < 100*time.Millisecond || r.Peak == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := timeProgram(
		ctx, RunOptions{Limit: time.Minute, Fine: []int{2}}, "sh", "-c", "exit 2",
	); err != nil ||
		r.Exit != 2 {
		t.Errorf("exit 2: %+v, %v", r, err)
	}
	if _, err := timeProgram(
		ctx, RunOptions{Limit: time.Minute}, "sh", "-c", "echo why >&2; exit 3",
	); err == nil ||
		!strings.Contains(err.Error(), "why") {
		t.Errorf("exit 3: %v", err)
	}
	if _, err := timeProgram(ctx, RunOptions{Limit: 50 * time.Millisecond}, "sleep", "60"); !errors.Is(
		err,
		errTimeout,
	) {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := timeProgram(ctx, RunOptions{Limit: time.Minute}, "no-such-program"); err == nil {
		t.Error("a program that isn't there ran")
	}
}
