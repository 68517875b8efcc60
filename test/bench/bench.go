package main

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// options are what the command line says.
type options struct {
	quick                                bool
	portgrave, format, out, readme, only string
	// smallest measures one round of the shortest lists, to see that everything works.
	smallest bool
}

// effort is how much is measured.
type effort struct {
	sizes    []Size        // of lists, the shortest first
	limit    time.Duration // of one measurement of the control path
	ufwLimit time.Duration // of all that ufw does
	budget   time.Duration // of the control path, and of the packet path; no round begins after it
	pairs    int           // of turns, with rules and without

	prefixes, services int // of the policies that jobs measures
	rules, sockets     int // of the host that jobs audits
	rounds             int // of each job
	repairs            int // after a flush
}

// Size is how long a list is, and in how many rounds it is measured.
type Size struct{ Prefixes, Rounds int }

// jobLimit is how long a job may take. It has no peer that would be given less.
const jobLimit = 30 * time.Second

// setupTimeout is how long something may take that is not measured.
const setupTimeout = 5 * time.Minute

func (o options) effort() effort {
	switch {
	case o.smallest:
		return effort{
			sizes: []Size{{1000, 1}}, limit: time.Minute, ufwLimit: 2 * time.Second,
			budget: time.Minute, pairs: 1,
			prefixes: 1000, services: 100, rules: 100, sockets: 10, rounds: 1, repairs: 2,
		}
	case o.quick:
		return effort{
			sizes: []Size{{1000, 2}, {100_000, 1}}, limit: 3 * time.Second,
			ufwLimit: 3 * time.Second, budget: 25 * time.Second, pairs: 15,
			prefixes: 100_000, services: 1000, rules: 10_000, sockets: 1000, rounds: 1, repairs: 18,
		}
	}
	return effort{
		sizes: []Size{{1000, 9}, {100_000, 5}, {1_000_000, 3}}, limit: 30 * time.Second,
		ufwLimit: 30 * time.Second, budget: 8 * time.Minute, pairs: 51,
		prefixes: 1_000_000, services: 10_000, rules: 10_000, sockets: 1000, rounds: 5, repairs: 198,
	}
}

// bench is one run.
type bench struct {
	effort
	portgrave string // the program
	dir       string // for lists and state
	end       time.Time
	progress  func(format string, args ...any)
	report    Report
}

// leaveOut notes what can't be measured, and why.
func (b *bench) leaveOut(what string) { b.report.Missing = append(b.report.Missing, what) }

// measure does it all, with its files in a folder that is removed.
func measure(ctx context.Context, o options, progress func(string, ...any)) (Report, error) {
	b := &bench{effort: o.effort(), progress: progress}
	b.report = Report{
		Date: time.Now(), Machine: readMachine(ctx), Quick: o.quick, Limit: b.limit.Seconds(),
	}
	var err error
	if b.dir, err = os.MkdirTemp("", "portgrave-bench"); err != nil {
		return b.report, err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	// The machine's lock is for the machine's firewall.
	if err := os.Setenv("XTABLES_LOCKFILE", filepath.Join(b.dir, "xtables.lock")); err != nil {
		return b.report, err
	}
	if b.portgrave, err = filepath.Abs(o.portgrave); err != nil {
		return b.report, err
	}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"control", b.control}, {"packets", b.packets}, {"jobs", b.jobs}} {
		if o.only == "" || o.only == part.name {
			b.end = time.Now().Add(b.budget)
			if err := part.run(ctx); err != nil {
				return b.report, err
			}
		}
	}
	return b.report, nil
}

// environment keeps what portgrave and iptables write in a folder.
func environment(dir string) []string {
	return []string{
		"PORTGRAVE_STATE_DIR=" + filepath.Join(dir, "state"),
		"PORTGRAVE_RUN_DIR=" + filepath.Join(dir, "run"),
		"XTABLES_LOCKFILE=" + filepath.Join(dir, "xtables.lock"),
	}
}
