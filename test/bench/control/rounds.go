package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/portgrave/portgrave/test/bench/cidrs"
	"github.com/portgrave/portgrave/test/bench/figures"
	"github.com/portgrave/portgrave/test/bench/process"
	"github.com/portgrave/portgrave/test/bench/report"
)

// Size is how long a list is, and how many rounds it is worth.
type Size struct{ Prefixes, Rounds int }

// Config is what to measure, and with what.
type Config struct {
	Portgrave string // the program
	Dir       string // an empty folder for lists and state
	Sizes     []Size // the shortest first
	Families  []cidrs.Family
	Limit     time.Duration // of one measurement
	UFW       time.Duration // that ufw may go on for
	End       time.Time     // no round but the first begins after it
	Progress  func(format string, args ...any)
}

// Run measures, and says who was left out.
func Run(ctx context.Context, c Config) (results []report.Control, missing []string, err error) {
	var present []contestant
	for _, x := range contestants(c.Portgrave) {
		if why := x.missing(); why != "" {
			missing = append(missing, why)
		} else {
			present = append(present, x)
		}
	}
	slow := map[cell]bool{} // by name and operation: took too long for a list of this or a shorter length
	for _, size := range c.Sizes {
		for _, family := range c.Families {
			rows, err := measure(ctx, c, family, size, present, slow)
			if err != nil {
				return results, missing, err
			}
			results = append(results, rows...)
			if family == cidrs.IPv4 && size.Prefixes <= ufwMost {
				c.Progress("ufw, for %v at most", c.UFW)
				rows, why, err := ufw(c.Dir, cidrs.New(family, size.Prefixes).Initial, c.UFW)
				if err != nil {
					return results, missing, err
				}
				if why != "" {
					missing = append(missing, why)
				}
				results = append(results, rows...)
			}
		}
	}
	return results, missing, nil
}

// ufwMost is the longest list that ufw is asked for: it takes a quarter of a second for each prefix.
const ufwMost = 1000

// cell is a contestant and what it does.
type cell struct {
	by        string
	operation report.Operation
}

// rounds collects the measurements of one family and size.
type rounds struct {
	order []cell
	of    map[cell]*report.Control
	slow  map[cell]bool
	limit time.Duration
}

// measure lets the contestants do everything in turn, round by round.
func measure(ctx context.Context, c Config, family cidrs.Family, size Size, present []contestant, slow map[cell]bool) ([]report.Control, error) {
	b, err := newBed(c.Dir, family, size.Prefixes)
	if err != nil {
		return nil, err
	}
	r := &rounds{of: map[cell]*report.Control{}, slow: slow, limit: c.Limit}
	for round := range size.Rounds {
		if round > 0 && time.Now().After(c.End) {
			break
		}
		c.Progress("%s %s CIDRs, round %d of %d", figures.Grouped(size.Prefixes), family, round+1, size.Rounds)
		alone := map[report.Operation]time.Duration{}
		for _, x := range present {
			if err := isolated(func() error { return r.turn(ctx, b, x, alone) }); err != nil {
				return nil, fmt.Errorf("%s %s CIDRs, %s: %w", figures.Grouped(size.Prefixes), family, x.name, err)
			}
			settle(size.Prefixes)
		}
	}
	var rows []report.Control
	for _, k := range r.order {
		rows = append(rows, *r.of[k])
	}
	return rows, os.RemoveAll(b.dir)
}

// settle waits for what the kernel still frees after a namespace has gone, in the background.
func settle(prefixes int) {
	time.Sleep(20*time.Millisecond + time.Duration(prefixes)*time.Microsecond)
}

// turn is one contestant's part of a round. alone is how long the kernel alone took, which is the first contestant.
func (r *rounds) turn(ctx context.Context, b *bed, x contestant, alone map[report.Operation]time.Duration) error {
	steps, err := x.steps(b, r.limit)
	if err != nil {
		return err
	}
	for _, s := range steps {
		k := cell{x.name, s.operation}
		row := r.of[k]
		if row == nil && s.operation != "" {
			row = &report.Control{Family: string(b.family), Size: b.size, By: x.name, Operation: s.operation}
			r.of[k], r.order = row, append(r.order, k)
		}
		var run process.Run
		err := process.ErrLimit
		if !r.slow[k] {
			run, err = s.run(ctx)
		}
		switch {
		case err != nil && s.operation == "":
			return err
		case errors.Is(err, process.ErrLimit):
			r.slow[k] = true
			row.Note = "> " + figures.Seconds(r.limit.Seconds())
			if s.operation == report.First {
				return ctx.Err() // there is nothing to change or to read
			}
			continue
		case err != nil:
			return fmt.Errorf("%s: %w", s.operation, err)
		case s.operation == "":
			continue
		}
		row.Seconds = append(row.Seconds, run.Took.Seconds())
		row.Peak = max(row.Peak, run.Peak)
		if x.name == report.Kernel {
			alone[s.operation] = run.Took
		} else if k := alone[compared(s.operation)]; k > 0 {
			row.OverKernel = append(row.OverKernel, run.Took.Seconds()/k.Seconds())
		}
	}
	return ctx.Err()
}

// compared is the kernel's operation that another is compared with.
func compared(o report.Operation) report.Operation {
	if o == report.Boot {
		return report.First
	}
	return o
}
