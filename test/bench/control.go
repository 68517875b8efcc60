package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// control measures the control path.
func (b *bench) control(ctx context.Context) error {
	var present []contestant
	for _, c := range contestants(b.portgrave) {
		if name := uninstalled(c.needs); name != "" {
			b.leaveOut(fmt.Sprintf("%s, since %s is not installed", c.name, name))
		} else {
			present = append(present, c)
		}
	}
	tooSlow := map[rowKey]bool{} // with a list of this or a shorter length
	for _, size := range b.sizes {
		for _, family := range []Family{IPv4, IPv6} {
			if err := b.measureLists(ctx, family, size, present, tooSlow); err != nil {
				return err
			}
			if family == IPv4 && size.Prefixes <= ufwMax {
				b.progress("ufw, for %v at most", b.ufwLimit)
				if err := b.ufw(NewLists(family, size.Prefixes).Initial); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// ufwMax is the longest list that ufw is asked for: it takes a quarter of a second for each prefix.
const ufwMax = 1000

// rowKey is a contestant and what it does.
type rowKey struct {
	by        string
	operation Operation
}

// rounds collects the measurements of one family and size.
type rounds struct {
	order   []rowKey
	rows    map[rowKey]*ControlRow
	tooSlow map[rowKey]bool
	limit   time.Duration
}

// measureLists lets the contestants do everything in turn, round by round.
func (b *bench) measureLists(
	ctx context.Context,
	family Family,
	size Size,
	present []contestant,
	tooSlow map[rowKey]bool,
) error {
	bed, err := newBed(b.dir, family, size.Prefixes)
	if err != nil {
		return err
	}
	r := &rounds{rows: map[rowKey]*ControlRow{}, tooSlow: tooSlow, limit: b.limit}
	title := fmt.Sprintf("%s %s CIDRs", formatCount(size.Prefixes), family)
	for round := range size.Rounds {
		if round > 0 && time.Now().After(b.end) {
			break
		}
		b.progress("%s, round %d of %d", title, round+1, size.Rounds)
		kernel := map[Operation]time.Duration{}
		for _, c := range present {
			if err := isolated(func() error { return r.turn(ctx, bed, c, kernel) }); err != nil {
				return fmt.Errorf("%s, %s: %w", title, c.name, err)
			}
			settle(size.Prefixes)
		}
	}
	for _, k := range r.order {
		b.report.Control = append(b.report.Control, *r.rows[k])
	}
	return os.RemoveAll(bed.dir)
}

// settle waits for what the kernel still frees after a namespace has gone, in the background.
func settle(prefixes int) {
	time.Sleep(20*time.Millisecond + time.Duration(prefixes)*time.Microsecond)
}

// turn is one contestant's part of a round. kernel is how long the kernel alone took, which is the
// first contestant.
func (r *rounds) turn(
	ctx context.Context,
	b *bed,
	c contestant,
	kernel map[Operation]time.Duration,
) error {
	steps, err := c.steps(b, r.limit)
	if err != nil {
		return err
	}
	for _, s := range steps {
		k := rowKey{c.name, s.operation}
		row := r.rows[k]
		if row == nil && s.operation != "" {
			row = &ControlRow{
				Family: string(b.family), Size: b.size, By: c.name, Operation: s.operation,
			}
			r.rows[k], r.order = row, append(r.order, k)
		}
		var run Run
		err := errTimeout
		if !r.tooSlow[k] {
			run, err = s.run(ctx)
		}
		switch {
		case err != nil && s.operation == "":
			return err
		case errors.Is(err, errTimeout):
			r.tooSlow[k] = true
			row.Note = "> " + formatSeconds(r.limit.Seconds())
			if s.operation == FirstLoad {
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
		of := s.operation
		if of == AtBoot { // the kernel has no boot of its own, but the same to load
			of = FirstLoad
		}
		if c.name == byKernel {
			kernel[of] = run.Took
		} else if k := kernel[of]; k > 0 {
			row.OverKernel = append(row.OverKernel, run.Took.Seconds()/k.Seconds())
		}
	}
	return ctx.Err()
}
