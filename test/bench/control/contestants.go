package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/portgrave/portgrave/test/bench/process"
	"github.com/portgrave/portgrave/test/bench/rawset"
	"github.com/portgrave/portgrave/test/bench/report"
)

// step is one operation. It is run in the contestant's namespace, after those before it.
type step struct {
	operation report.Operation
	run       func(ctx context.Context) (process.Run, error)
}

// contestant does the operations on a bed.
type contestant struct {
	name  string
	needs []string // programs, without which it is left out
	steps func(b *bed, limit time.Duration) ([]step, error)
}

// missing says which program is not installed; "" if all are.
func (c contestant) missing() string {
	for _, p := range c.needs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Sprintf("%s, since %s is not installed", c.name, p)
		}
	}
	return ""
}

// contestants are the kernel alone first, since the others are compared with it round by round.
func contestants(portgrave string) []contestant {
	return []contestant{
		{name: report.Kernel, steps: kernelSteps},
		{name: report.Portgrave, steps: portgraveSteps(portgrave, "nftables")},
		{name: "portgrave and its daemon", steps: daemonSteps(portgrave)},
		{name: "portgrave, iptables", needs: []string{"iptables", "ipset"}, steps: portgraveSteps(portgrave, "iptables")},
		{name: "nft -f", needs: []string{"nft"}, steps: nftSteps},
		{name: "ipset restore", needs: []string{"ipset"}, steps: ipsetSteps},
	}
}

// kernelSteps are transactions encoded beforehand. Only the kernel's work is measured.
func kernelSteps(b *bed, limit time.Duration) ([]step, error) {
	s, err := rawset.Open()
	if err != nil {
		return nil, err
	}
	commit := func(o report.Operation, fill func(*rawset.Batch)) step {
		return step{o, func(context.Context) (process.Run, error) {
			batch := rawset.NewBatch(b.family)
			fill(batch)
			took, err := s.Commit(batch)
			return process.Run{Took: took}, err
		}}
	}
	l := b.lists
	return []step{
		commit(report.First, func(t *rawset.Batch) { t.Table(); t.Set(); t.Add(l.Initial) }),
		{report.Read, func(ctx context.Context) (process.Run, error) {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			took, n, err := rawset.ReadBack(ctx)
			if ctx.Err() != nil {
				return process.Run{}, process.ErrLimit
			}
			if err == nil && n != b.size {
				err = fmt.Errorf("the set holds %d intervals of %d", n, b.size)
			}
			return process.Run{Took: took}, err
		}},
		commit(report.One, func(t *rawset.Batch) { t.Add(l.One.Add) }),
		commit(report.Percent, func(t *rawset.Batch) { t.Remove(l.Percent.Remove); t.Add(l.Percent.Add) }),
		commit(report.Replace, func(t *rawset.Batch) { t.Flush(); t.Add(l.Other) }),
		{"", func(context.Context) (process.Run, error) { return process.Run{}, s.Close() }},
	}, nil
}

// program is a step that runs a program.
func program(o report.Operation, options process.Options, name string, args ...string) step {
	return step{o, func(ctx context.Context) (process.Run, error) { return process.Measure(ctx, options, name, args...) }}
}

func nftSteps(b *bed, limit time.Duration) ([]step, error) {
	load := func(o report.Operation, file string) step {
		return program(o, process.Options{Limit: limit}, "nft", "-f", b.file(file))
	}
	return []step{
		load(report.First, "initial.nft"),
		program(report.Read, process.Options{Limit: limit, Discard: true}, "nft", "-j", "list", "ruleset"),
		load(report.One, "one.nft"),
		load(report.Percent, "percent.nft"),
		load(report.Replace, "other.nft"),
	}, nil
}

func ipsetSteps(b *bed, limit time.Duration) ([]step, error) {
	load := func(o report.Operation, file string) step {
		return program(o, process.Options{Limit: limit, Stdin: b.file(file)}, "ipset", "restore")
	}
	return []step{
		load(report.First, "initial.ipset"),
		program(report.Read, process.Options{Limit: limit, Discard: true}, "ipset", "save"),
		load(report.One, "one.ipset"),
		load(report.Percent, "percent.ipset"),
		load(report.Replace, "other.ipset"),
	}, nil
}

// portgraveSteps apply policies. Whatever is measured, apply reads back and writes the history.
func portgraveSteps(binary, backend string) func(*bed, time.Duration) ([]step, error) {
	return func(b *bed, limit time.Duration) ([]step, error) {
		state, err := b.fresh()
		if err != nil {
			return nil, err
		}
		p := portgrave{b, binary, backend, state, limit}
		return []step{
			p.step(report.First, initial, "Applied", "apply"),
			p.step(report.Nothing, initial, "Nothing to do", "apply"),
			p.step(report.Read, initial, "No drift", "drift"),
			p.step(report.One, one, "Applied", "apply"),
			p.step(report.Percent, percent, "Applied", "apply"),
			p.step(report.Replace, other, "Applied", "apply"),
			{report.Boot, func(ctx context.Context) (r process.Run, err error) {
				err = errors.Join(isolated(func() error {
					r, err = p.run(ctx, other, "eneration ", "boot")
					return err
				}), os.RemoveAll(state))
				return r, err
			}},
		}, nil
	}
}

// daemonSteps ask a daemon, which owns its table: it knows what the kernel holds, and reads no sets back.
func daemonSteps(binary string) func(*bed, time.Duration) ([]step, error) {
	return func(b *bed, limit time.Duration) ([]step, error) {
		state, err := b.fresh()
		if err != nil {
			return nil, err
		}
		p := portgrave{b, binary, "nftables", state, limit}
		var daemon *process.Daemon
		return []step{
			p.step("", initial, "Applied", "apply"),
			{"", func(ctx context.Context) (r process.Run, err error) {
				cmd := exec.CommandContext(ctx, binary, "--backend", "nftables", "--config", b.file(initial+".yaml"), "daemon", "--denied", "off")
				cmd.Env = append(p.environment(), "PATH="+os.Getenv("PATH"))
				cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // the thread ends with the round, even if a step fails
				daemon, err = process.Start(cmd, filepath.Join(state, "control.sock"), limit)
				return r, err
			}},
			p.step("", initial, "Nothing to do", "apply"), // it has compared by then
			p.step(report.Nothing, initial, "Nothing to do", "apply"),
			p.step(report.Read, initial, "No drift", "drift"),
			p.step(report.One, one, "Applied", "apply"),
			p.step(report.Percent, percent, "Applied", "apply"),
			p.step(report.Replace, other, "Applied", "apply"),
			{"", func(context.Context) (process.Run, error) {
				daemon.End()
				return process.Run{}, os.RemoveAll(state)
			}},
		}, nil
	}
}

// portgrave runs the program on a bed.
type portgrave struct {
	*bed
	binary, backend, state string
	limit                  time.Duration
}

func (p portgrave) environment() []string {
	return []string{"PORTGRAVE_STATE_DIR=" + p.state, "PORTGRAVE_RUN_DIR=" + p.state, "XTABLES_LOCKFILE=" + p.state + "/xtables.lock"}
}

// step is a step that runs a verb, which must say something.
func (p portgrave) step(o report.Operation, list, says string, args ...string) step {
	return step{o, func(ctx context.Context) (process.Run, error) { return p.run(ctx, list, says, args...) }}
}

func (p portgrave) run(ctx context.Context, list, says string, args ...string) (process.Run, error) {
	args = append([]string{"--backend", p.backend, "--config", p.file(list + ".yaml")}, args...)
	r, err := process.Measure(ctx, process.Options{Limit: p.limit, Env: p.environment()}, p.binary, args...)
	if err == nil && !bytes.Contains(r.Stdout, []byte(says)) {
		err = fmt.Errorf("portgrave does not say %q but:\n%s", says, r.Stdout)
	}
	return r, err
}
