package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// jobs measures the work of Portgrave that no peer does.
func (b *bench) jobs(ctx context.Context) error {
	if uninstalled([]string{"nft"}) != "" {
		b.leaveOut(
			"check, plan, commands, audit and repair, since nft, which builds the lab, is not installed",
		)
		return nil
	}
	for _, measure := range []func(*job) error{
		(*job).policies, (*job).commands, (*job).audit, (*job).repair,
	} {
		if err := b.inJob(ctx, measure); err != nil {
			return err
		}
	}
	for _, x := range longLists {
		if err := b.inJob(ctx, longListsOf(x)); err != nil {
			return fmt.Errorf("%s: %w", x.what, err)
		}
	}
	return ctx.Err()
}

// job is Portgrave at work in the host of a lab world, with a folder for policies and state.
type job struct {
	*bench
	ctx   context.Context
	world *lab.World
	dir   string
}

// inJob runs f with a world and a folder, which both end with it.
func (b *bench) inJob(ctx context.Context, f func(*job) error) error {
	dir, err := os.MkdirTemp(b.dir, "jobs")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	return inWorld(func(w *lab.World) error { return f(&job{b, ctx, w, dir}) })
}

// inWorld runs f with a lab world, which ends with it.
func inWorld(f func(*lab.World) error) error {
	var failed error
	err := lab.Run(io.Discard, func(t lab.TB) {
		w := lab.New(t)
		w.PinNeighbours()
		failed = f(w)
	})
	if failed != nil {
		return failed
	}
	return err
}

// write writes files into the folder.
func (j *job) write(files map[string]string) error {
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(j.dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// run runs a verb on a policy.
func (j *job) run(policy string, limit time.Duration, args ...string) (r Run, err error) {
	// 2: there is something to report
	o := RunOptions{Limit: limit, Env: environment(j.dir), Discard: true, Fine: []int{2}}
	config := filepath.Join(j.dir, policy)
	args = append([]string{"--backend", "nftables", "--config", config}, args...)
	err = j.world.Host.Do(func() (err error) {
		r, err = timeProgram(j.ctx, o, j.portgrave, args...)
		return err
	})
	return r, err
}

// measure repeats a verb. What takes too long is noted and not repeated.
func (j *job) measure(policy, what string, args ...string) error {
	j.progress("%s", what)
	row := JobRow{What: what}
	for range j.rounds {
		r, err := j.run(policy, jobLimit, args...)
		if errors.Is(err, errTimeout) {
			row.Note = fmt.Sprintf("> %v", jobLimit)
			break
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		row.Seconds, row.Peak = append(row.Seconds, r.Took.Seconds()), max(row.Peak, r.Peak)
	}
	j.report.Jobs = append(j.report.Jobs, row)
	return nil
}

// policies checks and plans a policy of many prefixes, and one of many services, and audits what
// the former lets in.
func (j *job) policies() error {
	files := map[string]string{"large.yaml": largePolicy(), "wide.yaml": widePolicy(j.services)}
	list := NewLists(IPv4, j.prefixes).Initial
	for i := range networkFiles {
		part := list[i*len(list)/networkFiles : (i+1)*len(list)/networkFiles]
		files[fmt.Sprintf("part-%d.txt", i)] = string(networkFile(part))
	}
	if err := j.write(files); err != nil {
		return err
	}
	size := fmt.Sprintf("%s CIDRs in %d files", shortCount(j.prefixes), networkFiles)
	services := fmt.Sprintf("%s services", shortCount(j.services))
	for _, x := range []struct{ policy, what, verb string }{
		{"wide.yaml", "check of " + services, "check"},
		{"wide.yaml", "plan of " + services + ", all to be done", "plan"},
		{"wide.yaml", "", "apply"},
		{"wide.yaml", "plan of " + services + ", in sync", "plan"},
		{"large.yaml", "check of " + size, "check"},
		{"large.yaml", "", "apply"},
		{"large.yaml", "plan of " + size + ", in sync", "plan"},
		{"large.yaml", "audit of a host that lets in " + size, "audit --no-probe"},
	} {
		var err error
		if x.what == "" {
			_, err = j.run(x.policy, setupTimeout, x.verb)
		} else {
			err = j.measure(x.policy, x.what, strings.Fields(x.verb)...)
		}
		if err != nil {
			return fmt.Errorf("%s of %s: %w", x.verb, x.policy, err)
		}
	}
	return nil
}

// audit looks at a host with foreign rules and listening sockets.
func (j *job) audit() error {
	err := j.write(
		map[string]string{"policy.yaml": widePolicy(1), "rules.nft": foreignRules(j.rules)},
	)
	if err != nil {
		return err
	}
	if err := j.world.Host.Do(func() error {
		script := filepath.Join(j.dir, "rules.nft")
		_, err := timeProgram(j.ctx, RunOptions{Limit: setupTimeout}, "nft", "-f", script)
		return err
	}); err != nil {
		return err
	}
	for i := range j.sockets {
		address := fmt.Sprintf("0.0.0.0:%d", firstPort+i)
		if _, err := j.world.Host.Listen("tcp4", address); err != nil {
			return err
		}
	}
	what := fmt.Sprintf("audit of %s rules of others and %s sockets",
		shortCount(j.rules), shortCount(j.sockets))
	return j.measure("policy.yaml", what, "audit", "--no-probe")
}
