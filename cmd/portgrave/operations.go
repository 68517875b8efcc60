package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// operations is who does what a verb asks for: the daemon, if one runs, else this process. done
// gives back what it opened. Without a daemon, what nobody has confirmed in time is taken back
// first, whatever the verb.
func (inv *invocation) operations() (ops host.Operations, done func(), err error) {
	if ops, done, err = inv.connect(); err != nil {
		return nil, nil, err
	}
	if _, here := ops.(*host.Local); here && mayChangeRules() {
		inv.takeBackOverdue(ops)
	}
	return ops, done, nil
}

// connect is operations without that.
func (inv *invocation) connect() (ops host.Operations, done func(), err error) {
	remote := api.NewRemote(inv.runDir)
	s, err := inv.daemonStatus()
	switch {
	case errors.Is(err, api.ErrBusy): // it lives
		return nil, nil, err
	case err != nil:
		return nil, nil, fmt.Errorf("%w: if it hangs, end it, and the rules stay", err)
	case s == nil:
		inv.screen.detailf("no daemon runs: this process does the work")
		local, done := inv.local()
		return local, done, nil
	case s.NetworkNamespace != daemon.NetworkNamespace():
		return nil, nil, fmt.Errorf(
			"the daemon behind %s keeps another network namespace: set PORTGRAVE_RUN_DIR and "+
				"PORTGRAVE_STATE_DIR for this one",
			inv.runDir,
		)
	}
	inv.daemon = s
	inv.screen.detailf("the daemon (process %d) does the work", s.PID)
	return remote, func() {}, nil
}

// local does operations in this process, on backends that it opens when they are needed.
func (inv *invocation) local() (l *host.Local, done func()) {
	inv.opened = &host.Backends{
		Log: slog.New(slog.NewTextHandler(inv.screen.progress.writer(inv.screen.err), nil)),
	}
	return &host.Local{
		StateDir:  inv.stateDir,
		UsageFile: filepath.Join(inv.runDir, usageFile),
		Backends:  inv.opened.Open,
		Now:       time.Now,
		LockWait:  lockWait,
		MaxLease: func() (time.Duration, error) {
			p, err := policy.Read(
				policy.Options{
					Path:  inv.config,
					Files: policy.Files{Patience: policy.WriterPatience},
				},
			)
			if err != nil {
				return 0, err
			}
			return p.Daemon.MaxLease, nil
		},
		Lists:      inv.listsNow,
		Written:    api.Written,
		StartGuard: inv.guardTrial,
		Tracking:   connections.ReadTracking,
		Untracked:  host.Untracked,
	}, inv.opened.Close
}

// usageFile keeps what the counters were, in the run directory, which a reboot empties as it empties
// the counters.
const usageFile = "usage.json"

// guardTrial is a host.Local's StartGuard.
func (inv *invocation) guardTrial(generation int) error {
	_, err := startGuard(inv, generation, 0)
	return err
}

// listsNow is a host.Local's Lists.
func (inv *invocation) listsNow(_ context.Context, text []byte) map[string]string {
	how := howToRead{text: text, offline: true, files: policy.Files{Patience: glancePatience}}
	_, c, err := inv.read("", how, &stage{})
	if err != nil {
		return nil
	}
	return c.Lists
}

// lookAhead prepares for a comparison with the kernel, unless a daemon makes it.
func (inv *invocation) lookAhead() {
	if inv.opened != nil {
		inv.opened.LookAhead(inv.ctx, inv.backend)
	}
}

// caller is the user and, over SSH, the session, for the history and so that it is not cut. sudo's
// user counts.
func (inv *invocation) caller() host.Caller {
	user, from := inv.who()
	c := host.Caller{User: user, From: from}
	if client, server, ok := connections.Session(inv.getenv); ok {
		c.Session = &host.Session{
			Client:    client,
			Server:    server,
			Interface: connections.InterfaceTo(client.Addr()),
		}
	}
	return c
}

// compiledPolicy is the policy for a request. What can't be enforced of it through the backend it
// is for is a mistake.
func (inv *invocation) compiledPolicy(ops host.Operations) (*host.Policy, error) {
	if _, here := ops.(*host.Local); here {
		// Without the privilege, that is the only error worth telling.
		if _, err := inv.enforcedWith(); errors.Is(err, firewall.ErrPermission) {
			return nil, err
		}
	}
	if remote, there := ops.(*api.Remote); there {
		if x := inv.throughDaemon(remote, true); x != nil {
			return &host.Policy{Ref: x.Ref}, nil
		}
	}
	p, c, err := inv.compiled(inv.config, false)
	if err != nil {
		return nil, err
	}
	inv.warnOnHost(p, c)
	if inv.daemon != nil && inv.daemon.Version != version {
		c.Lists = nil // one of before doesn't know the key, and refuses what it doesn't know
	}
	return api.PolicyOf(p, c, time.Now())
}

// warn prints what else there is to say.
func (inv *invocation) warn(warnings []string) {
	for _, w := range warnings {
		inv.screen.warnf("%s", w)
	}
}

// daemonStatus is what the daemon says of itself; nil if none runs, or none that this user may ask.
func (inv *invocation) daemonStatus() (*daemon.Status, error) {
	ctx, stop := context.WithTimeout(inv.ctx, statusPatience)
	defer stop()
	s, err := daemon.Ask(ctx, api.NewRemote(inv.runDir))
	if errors.Is(err, api.ErrNoDaemon) || errors.Is(err, os.ErrPermission) {
		return nil, nil
	}
	return s, err
}

// statusPatience is how long the daemon may take to say what lies ready.
const statusPatience = 3 * time.Second

// reported turns a list of errors in a result, as a person or a program was shown it, into the exit
// code.
func reported(s *screen, text string) error {
	if text == "" {
		return nil
	}
	err := errors.New(text)
	if s.json {
		return invalidReported{err}
	}
	return err
}
