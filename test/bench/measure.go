package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/portgrave/portgrave/test/bench/cidrs"
	"github.com/portgrave/portgrave/test/bench/control"
	"github.com/portgrave/portgrave/test/bench/jobs"
	"github.com/portgrave/portgrave/test/bench/machine"
	"github.com/portgrave/portgrave/test/bench/packets"
	"github.com/portgrave/portgrave/test/bench/report"
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
	sizes  []control.Size
	limit  time.Duration // of one measurement
	ufw    time.Duration // that ufw may go on for
	budget time.Duration // of the control path, and of the packet path; the rounds left after it are not done
	pairs  int           // of turns, with rules and without
	jobs   jobs.Config
}

// jobLimit is how long a job may take. It has no peer that would be given less.
const jobLimit = 30 * time.Second

// lists are the sizes alone.
func (e effort) lists() (out []int) {
	for _, s := range e.sizes {
		out = append(out, s.Prefixes)
	}
	return out
}

func (o options) effort() effort {
	switch {
	case o.smallest:
		return effort{[]control.Size{{Prefixes: 1000, Rounds: 1}}, time.Minute, 2 * time.Second, time.Minute, 1, jobs.Config{Prefixes: 1000, Services: 100, Rules: 100, Sockets: 10, Rounds: 1, Repairs: 2}}
	case o.quick:
		return effort{[]control.Size{{Prefixes: 1000, Rounds: 2}, {Prefixes: 100_000, Rounds: 1}}, 3 * time.Second, 3 * time.Second, 25 * time.Second, 15, jobs.Config{Prefixes: 100_000, Services: 1000, Rules: 10_000, Sockets: 1000, Rounds: 1, Repairs: 18}}
	}
	return effort{[]control.Size{{Prefixes: 1000, Rounds: 9}, {Prefixes: 100_000, Rounds: 5}, {Prefixes: 1_000_000, Rounds: 3}}, 30 * time.Second, 30 * time.Second, 8 * time.Minute, 51, jobs.Config{Prefixes: 1_000_000, Services: 10_000, Rules: 10_000, Sockets: 1000, Rounds: 5, Repairs: 198}}
}

// measure does it all, with its files in a folder that is removed.
func measure(ctx context.Context, o options, progress func(string, ...any)) (report.Report, error) {
	e := o.effort()
	r := report.Report{Date: time.Now(), Machine: machine.Read(ctx), Quick: o.quick, Limit: e.limit.Seconds()}
	dir, err := os.MkdirTemp("", "portgrave-bench")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// The machine's lock is for the machine's firewall.
	if err := os.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "xtables.lock")); err != nil {
		return r, err
	}
	if o.portgrave, err = filepath.Abs(o.portgrave); err != nil {
		return r, err
	}
	for _, part := range []struct {
		name string
		run  func() error
	}{
		{"control", func() (err error) {
			var missing []string
			r.Control, missing, err = control.Run(ctx, control.Config{
				Portgrave: o.portgrave, Dir: dir, Sizes: e.sizes, Families: []cidrs.Family{cidrs.IPv4, cidrs.IPv6},
				Limit: e.limit, UFW: e.ufw, End: time.Now().Add(e.budget), Progress: progress,
			})
			r.Missing = append(r.Missing, missing...)
			return err
		}},
		{"packets", func() (err error) {
			var missing []string
			r.Packets, missing, err = packets.Run(ctx, packets.Config{
				Portgrave: o.portgrave, Dir: dir, Sizes: e.lists(), Pairs: e.pairs, End: time.Now().Add(e.budget), Progress: progress,
			})
			r.Missing = append(r.Missing, missing...)
			return err
		}},
		{"jobs", func() (err error) {
			var missing []string
			c := e.jobs
			c.Portgrave, c.Dir, c.Limit, c.Progress = o.portgrave, dir, jobLimit, progress
			r.Jobs, missing, err = jobs.Run(ctx, c)
			r.Missing = append(r.Missing, missing...)
			return err
		}},
	} {
		if o.only == "" || o.only == part.name {
			if err := part.run(); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}
