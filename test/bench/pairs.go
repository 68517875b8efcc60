package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// turns is how much is measured: pairs, and what one half of a pair sends.
type turns struct {
	pairs, bursts, connects int
}

// compare measures two paths in turn. After the end, no pair but the first begins.
func compare(bare, ruled *path, t turns, end time.Time) (row PacketRow, err error) {
	for i := range t.pairs {
		if i > 0 && time.Now().After(end) {
			break
		}
		var udp, tcp [2]float64
		for half, p := range []*path{bare, ruled} {
			if udp[half], err = p.alone(p.udp, t.bursts); err != nil {
				return row, fmt.Errorf("UDP: %w", err)
			}
		}
		for half, p := range []*path{bare, ruled} {
			if tcp[half], err = p.alone(p.tcp, t.connects); err != nil {
				return row, fmt.Errorf("TCP: %w", err)
			}
		}
		row.UDP, row.BareUDP = append(row.UDP, udp[1]/udp[0]), append(row.BareUDP, udp[0])
		row.TCP, row.BareTCP = append(row.TCP, tcp[1]/tcp[0]), append(row.BareTCP, tcp[0])
	}
	return row, nil
}

// alone runs a turn in the office, on a thread that is held to one core. A tenth is done before, so
// that caches are warm.
func (p *path) alone(turn func(int) (float64, error), n int) (rate float64, err error) {
	err = p.office.Do(func() error {
		restore, err := claim()
		if err == nil {
			if _, err = turn(n/10 + 1); err == nil {
				rate, err = turn(n)
			}
			err = errors.Join(err, restore())
		}
		return err
	})
	return rate, err
}

// claim holds the calling thread to the last core that it may use, which has least to do with
// interrupts.
func claim() (restore func() error, err error) {
	var allRules, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allRules); err != nil {
		return nil, fmt.Errorf("sched_getaffinity: %w", err)
	}
	for i := range 64 * len(allRules) {
		if allRules.IsSet(i) {
			one.Zero()
			one.Set(i)
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, fmt.Errorf("sched_setaffinity: %w", err)
	}
	return func() error { return unix.SchedSetaffinity(0, &allRules) }, nil
}
