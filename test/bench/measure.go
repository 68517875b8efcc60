package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/portgrave/portgrave/test/bench/cidrs"
	"github.com/portgrave/portgrave/test/bench/control"
	"github.com/portgrave/portgrave/test/bench/machine"
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
	budget time.Duration // of the control path; what is left of its rounds after it is not done
}

func (o options) effort() effort {
	switch {
	case o.smallest:
		return effort{[]control.Size{{Prefixes: 1000, Rounds: 1}}, 20 * time.Second, time.Minute}
	case o.quick:
		return effort{[]control.Size{{Prefixes: 1000, Rounds: 3}, {Prefixes: 100_000, Rounds: 1}}, 5 * time.Second, time.Minute}
	}
	return effort{[]control.Size{{Prefixes: 1000, Rounds: 9}, {Prefixes: 100_000, Rounds: 5}, {Prefixes: 1_000_000, Rounds: 3}}, 30 * time.Second, 9 * time.Minute}
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
				Limit: e.limit, End: time.Now().Add(e.budget), Progress: progress,
			})
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
