package main

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
)

// step is one operation. It is run in the contestant's namespace, after those before it.
type step struct {
	operation Operation
	run       func(ctx context.Context) (Run, error)
}

// contestant does the operations on a bed.
type contestant struct {
	name  string
	needs []string // programs, without which it is left out
	steps func(b *bed, limit time.Duration) ([]step, error)
}

// uninstalled is the first of some programs that is not installed; "" if all are.
func uninstalled(programs []string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p
		}
	}
	return ""
}

// contestants are the kernel alone first, since the others are compared with it round by round.
func contestants(portgrave string) []contestant {
	return []contestant{
		{name: byKernel, steps: kernelSteps},
		{name: byPortgrave, steps: portgraveSteps(portgrave, "nftables")},
		{name: "portgrave and its daemon", steps: daemonSteps(portgrave)},
		{
			name:  "portgrave, iptables",
			needs: []string{"iptables", "ipset"},
			steps: portgraveSteps(portgrave, "iptables"),
		},
		{name: "nft -f", needs: []string{"nft"}, steps: nftSteps},
		{name: "ipset restore", needs: []string{"ipset"}, steps: ipsetSteps},
	}
}

// kernelSteps are transactions encoded beforehand. Only the kernel's work is measured.
func kernelSteps(b *bed, limit time.Duration) ([]step, error) {
	s, err := OpenSocket()
	if err != nil {
		return nil, err
	}
	commit := func(o Operation, fill func(*Batch)) step {
		return step{o, func(context.Context) (Run, error) {
			batch := NewBatch(b.family)
			fill(batch)
			took, err := s.Commit(batch)
			return Run{Took: took}, err
		}}
	}
	l := b.lists
	return []step{
		commit(FirstLoad, func(t *Batch) { t.Table(); t.Set(); t.Add(l.Initial) }),
		{ReadAll, func(ctx context.Context) (Run, error) {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			took, n, err := readSet(ctx)
			if ctx.Err() != nil {
				return Run{}, errTimeout
			}
			if err == nil && n != b.size {
				err = fmt.Errorf("the set holds %d intervals of %d", n, b.size)
			}
			return Run{Took: took}, err
		}},
		commit(OneMore, func(t *Batch) { t.Add(l.One.Add) }),
		commit(
			PercentReplaced,
			func(t *Batch) { t.Remove(l.Percent.Remove); t.Add(l.Percent.Add) },
		),
		commit(AllReplaced, func(t *Batch) { t.Flush(); t.Add(l.Other) }),
		{"", func(context.Context) (Run, error) { return Run{}, s.Close() }},
	}, nil
}

// programStep is a step that runs a program.
func programStep(o Operation, options RunOptions, name string, args ...string) step {
	return step{
		o,
		func(ctx context.Context) (Run, error) { return timeProgram(ctx, options, name, args...) },
	}
}

func nftSteps(b *bed, limit time.Duration) ([]step, error) {
	load := func(o Operation, file string) step {
		return programStep(o, RunOptions{Limit: limit}, "nft", "-f", b.file(file))
	}
	return []step{
		load(FirstLoad, "initial.nft"),
		programStep(
			ReadAll,
			RunOptions{Limit: limit, Discard: true},
			"nft",
			"-j",
			"list",
			"ruleset",
		),
		load(OneMore, "one.nft"),
		load(PercentReplaced, "percent.nft"),
		load(AllReplaced, "other.nft"),
	}, nil
}

func ipsetSteps(b *bed, limit time.Duration) ([]step, error) {
	load := func(o Operation, file string) step {
		return programStep(o, RunOptions{Limit: limit, Stdin: b.file(file)}, "ipset", "restore")
	}
	return []step{
		load(FirstLoad, "initial.ipset"),
		programStep(ReadAll, RunOptions{Limit: limit, Discard: true}, "ipset", "save"),
		load(OneMore, "one.ipset"),
		load(PercentReplaced, "percent.ipset"),
		load(AllReplaced, "other.ipset"),
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
			p.step(FirstLoad, listInitial, "Applied", "apply"),
			p.step(NothingToDo, listInitial, "Nothing to do", "apply"),
			p.step(ReadAll, listInitial, "No drift", "drift"),
			p.step(OneMore, listOne, "Applied", "apply"),
			p.step(PercentReplaced, listPercent, "Applied", "apply"),
			p.step(AllReplaced, listOther, "Applied", "apply"),
			{AtBoot, func(ctx context.Context) (r Run, err error) {
				err = errors.Join(isolated(func() error {
					r, err = p.run(ctx, listOther, "eneration ", "boot")
					return err
				}), os.RemoveAll(state))
				return r, err
			}},
		}, nil
	}
}

// daemonSteps ask a daemon, which owns its table: it knows what the kernel holds, and reads no sets
// back.
func daemonSteps(binary string) func(*bed, time.Duration) ([]step, error) {
	return func(b *bed, limit time.Duration) ([]step, error) {
		state, err := b.fresh()
		if err != nil {
			return nil, err
		}
		p := portgrave{b, binary, "nftables", state, limit}
		var daemon *Daemon
		return []step{
			p.step("", listInitial, "Applied", "apply"),
			{"", func(ctx context.Context) (r Run, err error) {
				cmd := exec.CommandContext(
					ctx,
					binary,
					"--backend",
					"nftables",
					"--config",
					b.file(listInitial+".yaml"),
					"daemon",
					"--denied",
					"off",
				)
				cmd.Env = append(environment(state), "PATH="+os.Getenv("PATH"))
				cmd.SysProcAttr = &syscall.SysProcAttr{
					Pdeathsig: syscall.SIGTERM,
				} // the thread ends with the round, even if a step fails
				daemon, err = startDaemon(cmd, filepath.Join(state, "run", "control.sock"), limit)
				return r, err
			}},
			p.step("", listInitial, "Nothing to do", "apply"), // it has compared by then
			p.step(NothingToDo, listInitial, "Nothing to do", "apply"),
			p.step(ReadAll, listInitial, "No drift", "drift"),
			p.step(OneMore, listOne, "Applied", "apply"),
			p.step(PercentReplaced, listPercent, "Applied", "apply"),
			p.step(AllReplaced, listOther, "Applied", "apply"),
			{"", func(context.Context) (Run, error) {
				daemon.End()
				return Run{}, os.RemoveAll(state)
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

// step is a step that runs a verb, which must say something.
func (p portgrave) step(o Operation, list, says string, args ...string) step {
	return step{
		o,
		func(ctx context.Context) (Run, error) { return p.run(ctx, list, says, args...) },
	}
}

func (p portgrave) run(ctx context.Context, list, says string, args ...string) (Run, error) {
	args = append([]string{"--backend", p.backend, "--config", p.file(list + ".yaml")}, args...)
	r, err := timeProgram(
		ctx,
		RunOptions{Limit: p.limit, Env: environment(p.state)},
		p.binary,
		args...)
	if err == nil && !bytes.Contains(r.Stdout, []byte(says)) {
		err = fmt.Errorf("portgrave does not say %q but:\n%s", says, r.Stdout)
	}
	return r, err
}
