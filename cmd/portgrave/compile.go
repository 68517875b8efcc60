package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/firewall/ipvs"
	"github.com/portgrave/portgrave/policy"
)

// compiledThere is a policy that the daemon has compiled.
type compiledThere struct {
	api.CompiledPolicy
	policy *policy.Policy
}

// throughDaemon reads the policy's own files and has the daemon compile the rest, which is mostly
// in its memory. nil means to compile the policy here, whatever the reason: that reports mistakes
// and waits for writers of files, which this does not. onHost: with warnings about this host.
func (inv *invocation) throughDaemon(remote *api.Remote, onHost bool) *compiledThere {
	if os.Geteuid() != 0 || inv.daemon == nil || inv.daemon.Version != version {
		return nil
	}
	backend, err := inv.enforcedWith()
	if err != nil {
		return nil
	}
	reading := inv.screen.progress.begin("reading the policy")
	defer reading.end()
	p, err := inv.parsed(inv.config, howToRead{})
	if err != nil {
		return nil
	}
	prints, err := p.Fingerprints(inv.ctx, policy.Files{})
	if err != nil {
		return nil
	}
	answer, err := remote.Compile(inv.ctx, api.CompileRequest{
		Origin:       p.Origin,
		Text:         p.Text(),
		Files:        prints,
		StateDir:     inv.stateDir,
		Backend:      backend,
		AcceptShrunk: inv.acceptShrunk,
		OnHost:       onHost,
	})
	if err != nil {
		return nil
	}
	for _, w := range answer.Warnings {
		inv.screen.warnf("%v", p.AsNamed(w))
	}
	return &compiledThere{answer, p}
}

// compileFor is the daemon's part of throughDaemon.
func (inv *invocation) compileFor(
	ctx context.Context,
	q api.CompileRequest,
) (*policy.Policy, *policy.Compiled, error) {
	p, err := policy.ReadText(q.Text)
	if err != nil {
		return nil, nil, err
	}
	p.Origin = q.Origin
	var troubled error
	c, err := p.Compile(ctx, &policy.Networks{
		Dir:          filepath.Join(inv.stateDir, "networks"),
		Offline:      true,
		Expect:       q.Files,
		AcceptShrunk: q.AcceptShrunk,
		Memory:       inv.memory,
		Connected:    hostview.Connected,
		Virtual:      ipvs.VirtualServices,
		Warn:         func(err error) { troubled = errors.Join(troubled, err) },
	})
	if err = errors.Join(err, troubled); err != nil {
		return nil, nil, err
	}
	if q.Backend == "iptables" {
		if err := iptablesLimits(c); err != nil {
			return nil, nil, err
		}
	}
	if q.OnHost {
		c.Warnings = append(c.Warnings, onHost(p, c, q.Backend)...)
	}
	return p, c, nil
}
