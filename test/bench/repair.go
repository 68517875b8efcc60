package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// maxRepairs is how many repairs one daemon does: after more in ten seconds it would take the
// flushes for another program that fights over the table, and pause.
const maxRepairs = 18

// flushInterval is the pause between two flushes.
const flushInterval = 100 * time.Millisecond

// repair flushes all rules under a daemon that can't own its table, and watches until a source that
// isn't allowed is kept out again.
func (j *job) repair() error {
	row := JobRow{What: "repair after a flush, 1 k CIDRs: refused source kept out again"}
	j.progress("%s", row.What)
	if err := j.write(map[string]string{
		"list.txt": string(networkFile(NewLists(IPv4, 1000).Initial)),
		"policy.yaml": "version: 1\nnetworks:\n  list: {file: list.txt}\nservices:\n" +
			"  - {name: metrics, port: 9090, protocol: [tcp, udp], " +
			"allow: [list, " + clientNetwork.String() + "], log: none}\n" +
			"daemon: {protect: never}\n",
	}); err != nil {
		return err
	}
	if _, err := j.run("policy.yaml", setupTimeout, "apply"); err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	knock, err := NewKnock(j.world, 9090, netip.MustParseAddr("192.0.2.250"))
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	defer knock.Close()
	for len(row.Seconds) < j.repairs {
		n := min(maxRepairs, j.repairs-len(row.Seconds))
		peak, took, err := j.repairsOfOneDaemon(knock, n)
		if err != nil {
			return fmt.Errorf("repair: %w", err)
		}
		row.Seconds, row.Peak = append(row.Seconds, took...), max(row.Peak, peak)
	}
	j.report.Jobs = append(j.report.Jobs, row)
	return nil
}

// repairsOfOneDaemon starts a daemon, flushes the rules n times and once before, which does not
// count, and ends the daemon.
func (j *job) repairsOfOneDaemon(
	knock *Knock,
	n int,
) (peak uint64, took []float64, err error) {
	socket := filepath.Join(j.dir, "run", "control.sock")
	config := filepath.Join(j.dir, "policy.yaml")
	cmd := j.world.Host.Command(j.ctx, j.portgrave,
		"--config", config, "--backend", "nftables", "daemon", "--denied", "off")
	cmd.Env = append(environment(j.dir), "PATH="+os.Getenv("PATH"))
	daemon, err := startDaemon(cmd, socket, jobLimit)
	if err != nil {
		return 0, nil, err
	}
	defer func() {
		var said []byte
		if peak, said = daemon.End(); err != nil {
			err = fmt.Errorf("%w; the daemon has said:\n%s", err, said)
		}
	}()
	// Until the daemon has read the policy it owns its table, whatever that says; so the first
	// flushes may do nothing.
	for start, first := time.Now(), true; len(took) < n && j.ctx.Err() == nil; time.Sleep(flushInterval) {
		d, err := j.flush(knock)
		if err != nil {
			return 0, took, err
		}
		if d == 0 && first && time.Since(start) > repairTimeout {
			return 0, took, fmt.Errorf(
				"no flush has opened the host in %v, so there was nothing to repair",
				repairTimeout,
			)
		}
		if d > 0 && !first {
			took = append(took, d.Seconds())
		}
		first = first && d == 0
	}
	return 0, took, j.ctx.Err()
}

// repairTimeout is how long a repair may take, and how long until a daemon lets others flush its
// table.
const repairTimeout = 30 * time.Second

// flush removes every rule of the host and returns how long it was open; 0 if it never was, since
// the daemon owned the table at that moment.
func (j *job) flush(knock *Knock) (took time.Duration, err error) {
	if in, err := knock.GetsIn(); err != nil || in {
		return 0, fmt.Errorf("before a flush: a refused source gets in: %v (%w)", in, err)
	}
	var s *Socket
	if err := j.world.Host.Do(func() (err error) { s, err = OpenSocket(); return err }); err != nil {
		return 0, err
	}
	defer func() { _ = s.Close() }()
	b := NewBatch(IPv4)
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
		if at > repairTimeout {
			return 0, fmt.Errorf("nothing was repaired in %v", repairTimeout)
		}
		time.Sleep(20 * time.Microsecond)
	}
}
