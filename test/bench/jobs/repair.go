package jobs

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/portgrave/portgrave/test/bench/cidrs"
	"github.com/portgrave/portgrave/test/bench/packets"
	"github.com/portgrave/portgrave/test/bench/process"
	"github.com/portgrave/portgrave/test/bench/rawset"
	"github.com/portgrave/portgrave/test/bench/report"
	"github.com/portgrave/portgrave/test/lab"
)

// shift is how many repairs one daemon does: with more in ten seconds it would take the flushes for another program that fights it, and pause.
const shift = 18

// breath is what lies between two flushes.
const breath = 100 * time.Millisecond

// repair flushes all rules under a daemon that can't own its table, and watches until a source that isn't allowed is kept out again.
func (c Config) repair(ctx context.Context) ([]report.Job, error) {
	const size = 1000
	j := report.Job{What: "repair after a flush, 1 k CIDRs: refused source kept out again"}
	c.Progress("%s", j.What)
	err := c.inWorld(func(w *lab.World, dir string) error {
		for name, content := range map[string][]byte{
			"list.txt":    cidrs.NetworkFile(cidrs.New(cidrs.IPv4, size).Initial),
			"policy.yaml": []byte("version: 1\nnetworks:\n  list: {file: list.txt}\nservices:\n  - {name: metrics, port: 9090, protocol: [tcp, udp], allow: [list, " + cidrs.Client.String() + "], log: none}\ndaemon: {protect: never}\n"),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				return err
			}
		}
		if _, err := c.portgrave(ctx, w, dir, "policy.yaml", setupLimit, "apply"); err != nil {
			return err
		}
		knock, err := packets.NewKnock(w, 9090, netip.MustParseAddr("192.0.2.250"))
		if err != nil {
			return err
		}
		defer knock.Close()
		for len(j.Seconds) < c.Repairs {
			peak, took, err := c.shift(ctx, w, dir, knock, min(shift, c.Repairs-len(j.Seconds)))
			j.Seconds, j.Peak = append(j.Seconds, took...), max(j.Peak, peak)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("repair: %w", err)
	}
	return []report.Job{j}, nil
}

// shift starts a daemon, flushes the rules n times and once before, which does not count, and ends the daemon.
func (c Config) shift(ctx context.Context, w *lab.World, dir string, knock *packets.Knock, n int) (peak uint64, took []float64, err error) {
	socket := filepath.Join(dir, "run", "control.sock")
	cmd := w.Host.Command(ctx, c.Portgrave, "--config", filepath.Join(dir, "policy.yaml"), "--backend", "nftables", "daemon", "--denied", "off")
	cmd.Env = append(environment(dir), "PATH="+os.Getenv("PATH"))
	daemon, err := process.Start(cmd, socket, c.Limit)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		var said []byte
		if peak, said = daemon.End(); err != nil {
			err = fmt.Errorf("%w; the daemon has said:\n%s", err, said)
		}
	}()
	// Until the daemon has read the policy it owns its table, whatever that says; so the first flushes may do nothing.
	for start, first := time.Now(), true; len(took) < n && ctx.Err() == nil; time.Sleep(breath) {
		d, err := c.flush(w, knock)
		if err != nil {
			return 0, took, err
		}
		if d == 0 && first && time.Since(start) > patience {
			return 0, took, fmt.Errorf("no flush has opened the host in %v, so there was nothing to repair", patience)
		}
		if d > 0 && !first {
			took = append(took, d.Seconds())
		}
		first = first && d == 0
	}
	return 0, took, ctx.Err()
}

// patience is how long a repair may take, and until a daemon lets others flush its table.
const patience = 30 * time.Second

// flush removes every rule of the host and returns how long it was open; 0 if it never was, since the daemon owned the table at that moment.
func (c Config) flush(w *lab.World, knock *packets.Knock) (took time.Duration, err error) {
	if in, err := knock.GetsIn(); err != nil || in {
		return 0, fmt.Errorf("before a flush: a refused source gets in: %v (%w)", in, err)
	}
	var s *rawset.Socket
	if err := w.Host.Do(func() (err error) { s, err = rawset.Open(); return err }); err != nil {
		return 0, err
	}
	defer func() { _ = s.Close() }()
	b := rawset.NewBatch(cidrs.IPv4)
	b.DropEverything()
	start := time.Now()
	if _, err := s.Commit(b); err != nil {
		return 0, err
	}
	for opened := false; ; opened = true {
		// Before it knocks: what is refused at that moment was refused from then on at the latest.
		at := time.Since(start)
		in, err := knock.GetsIn()
		if err != nil {
			return 0, err
		}
		if !in && !opened {
			return 0, nil
		}
		if !in {
			return at, nil
		}
		if at > patience {
			return 0, fmt.Errorf("nothing was repaired in %v", patience)
		}
		time.Sleep(20 * time.Microsecond)
	}
}
