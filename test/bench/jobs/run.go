package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/portgrave/portgrave/test/bench/cidrs"
	"github.com/portgrave/portgrave/test/bench/process"
	"github.com/portgrave/portgrave/test/bench/report"
	"github.com/portgrave/portgrave/test/lab"
)

// Config is what to measure, and with what.
type Config struct {
	Portgrave string // the program
	Dir       string // a folder for policies and state
	Prefixes  int    // in the large policy
	Services  int    // in the wide policy
	Rules     int    // of others, for the audit
	Sockets   int    // that listen
	Rounds    int    // of each
	Repairs   int    // after a flush
	Limit     time.Duration
	Progress  func(format string, args ...any)
}

// Run measures, and says what was left out.
func Run(ctx context.Context, c Config) (results []report.Job, missing []string, err error) {
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, []string{"check, plan, audit and repair, since nft, which builds the lab, is not installed"}, nil
	}
	for _, job := range []func(context.Context) ([]report.Job, error){c.policies, c.audit, c.repair} {
		rows, err := job(ctx)
		results = append(results, rows...)
		if err != nil {
			return results, nil, err
		}
	}
	return results, nil, ctx.Err()
}

// inWorld runs f with a lab world and a folder, which both end with it.
func (c Config) inWorld(f func(w *lab.World, dir string) error) error {
	dir, err := os.MkdirTemp(c.Dir, "jobs")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var failed error
	err = lab.Run(io.Discard, func(t lab.TB) {
		w := lab.New(t)
		w.PinNeighbours()
		failed = f(w, dir)
	})
	if failed != nil {
		return failed
	}
	return err
}

// portgrave runs a verb in the host.
func (c Config) portgrave(ctx context.Context, w *lab.World, dir, policy string, limit time.Duration, args ...string) (r process.Run, err error) {
	o := process.Options{Limit: limit, Env: environment(dir), Discard: true, Fine: []int{2}} // 2: there is something to report
	args = append([]string{"--backend", "nftables", "--config", filepath.Join(dir, policy)}, args...)
	err = w.Host.Do(func() (err error) {
		r, err = process.Measure(ctx, o, c.Portgrave, args...)
		return err
	})
	return r, err
}

func environment(dir string) []string {
	return []string{"PORTGRAVE_STATE_DIR=" + dir + "/state", "PORTGRAVE_RUN_DIR=" + dir + "/run"}
}

// rounds repeats a verb. What takes too long is noted and not repeated.
func (c Config) rounds(ctx context.Context, w *lab.World, dir, policy, what string, args ...string) (report.Job, error) {
	c.Progress("%s", what)
	j := report.Job{What: what}
	for range c.Rounds {
		r, err := c.portgrave(ctx, w, dir, policy, c.Limit, args...)
		if errors.Is(err, process.ErrLimit) {
			j.Note = fmt.Sprintf("> %v", c.Limit)
			break
		}
		if err != nil {
			return j, fmt.Errorf("%s: %w", what, err)
		}
		j.Seconds, j.Peak = append(j.Seconds, r.Took.Seconds()), max(j.Peak, r.Peak)
	}
	return j, nil
}

// setupLimit is how long may take what is not measured.
const setupLimit = 5 * time.Minute

// files is over how many network files the large policy is spread.
const files = 10

// policies checks and plans a policy of many prefixes, and one of many services, and audits what the former lets in.
func (c Config) policies(ctx context.Context) (jobs []report.Job, err error) {
	err = c.inWorld(func(w *lab.World, dir string) error {
		list := cidrs.New(cidrs.IPv4, c.Prefixes).Initial
		for i := range files {
			name := filepath.Join(dir, fmt.Sprintf("part-%d.txt", i))
			if err := os.WriteFile(name, cidrs.NetworkFile(list[i*len(list)/files:(i+1)*len(list)/files]), 0o600); err != nil {
				return err
			}
		}
		for name, content := range map[string]string{"large.yaml": large(), "wide.yaml": wide(c.Services)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				return err
			}
		}
		size := fmt.Sprintf("%s CIDRs in %d files", report.Short(c.Prefixes), files)
		services := fmt.Sprintf("%s services", report.Short(c.Services))
		for _, x := range []struct{ policy, what, verb string }{
			{"wide.yaml", "check of " + services, "check"}, {"wide.yaml", "plan of " + services + ", all to be done", "plan"}, {"wide.yaml", "", "apply"}, {"wide.yaml", "plan of " + services + ", in sync", "plan"},
			{"large.yaml", "check of " + size, "check"}, {"large.yaml", "", "apply"}, {"large.yaml", "plan of " + size + ", in sync", "plan"},
			{"large.yaml", "audit of a host that lets in " + size, "audit --no-probe"},
		} {
			if x.what == "" {
				if _, err := c.portgrave(ctx, w, dir, x.policy, setupLimit, x.verb); err != nil {
					return fmt.Errorf("%s of %s: %w", x.verb, x.policy, err)
				}
				continue
			}
			j, err := c.rounds(ctx, w, dir, x.policy, x.what, strings.Fields(x.verb)...)
			if err != nil {
				return err
			}
			jobs = append(jobs, j)
		}
		return nil
	})
	return jobs, err
}

// audit looks at a host with rules of others and listening sockets.
func (c Config) audit(ctx context.Context) (jobs []report.Job, err error) {
	err = c.inWorld(func(w *lab.World, dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(wide(1)), 0o600); err != nil {
			return err
		}
		script := filepath.Join(dir, "rules.nft")
		if err := os.WriteFile(script, []byte(foreign(c.Rules)), 0o600); err != nil {
			return err
		}
		if err := w.Host.Do(func() error {
			_, err := process.Measure(ctx, process.Options{Limit: setupLimit}, "nft", "-f", script)
			return err
		}); err != nil {
			return err
		}
		for i := range c.Sockets {
			if _, err := w.Host.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", firstPort+i)); err != nil {
				return err
			}
		}
		what := fmt.Sprintf("audit of %s rules of others and %s sockets", report.Short(c.Rules), report.Short(c.Sockets))
		j, err := c.rounds(ctx, w, dir, "policy.yaml", what, "audit", "--no-probe")
		jobs = append(jobs, j)
		return err
	})
	return jobs, err
}
