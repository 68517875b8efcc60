package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/xt"
	"github.com/portgrave/portgrave/policy"
)

// resolveBackend is the backend that a name stands for on this kernel. The error says why nftables
// can't be used, if it is not for the kernel's sake.
func resolveBackend(name string) (string, error) {
	if name != "auto" && name != "" {
		return name, nil
	}
	err := nft.Available()
	if errors.Is(err, firewall.ErrUnsupported) {
		return "iptables", nil
	}
	return "nftables", err
}

// openReconciler opens a backend with all that a Reconciler needs; it complains to log.
func openReconciler(
	ctx context.Context,
	name string,
	thorough bool,
	log *slog.Logger,
) (*firewall.Reconciler, func(), error) {
	b, others, closeAll, err := openBackend(ctx, name, thorough)
	if err != nil {
		return nil, nil, err
	}
	running, err := connections.New()
	if err != nil {
		closeAll()
		return nil, nil, err
	}
	return &firewall.Reconciler{
		Backend:     b,
		Others:      others,
		Connections: running,
		Now:         time.Now,
		Log:         log,
	}, closeAll, nil
}

// openBackend opens the backend that --backend names, and the others in which something of ours may
// stand from before; thorough: those that work here, whether or not it is likely.
func openBackend(
	ctx context.Context,
	name string,
	thorough bool,
) (b firewall.Backend, others []firewall.Backend, closeAll func(), err error) {
	native, nftErr := nft.New()
	closeAll = func() {
		if native != nil {
			_ = native.Close()
		}
	}
	if name == "nftables" ||
		(name == "auto" || name == "") && !errors.Is(nftErr, firewall.ErrUnsupported) {
		if nftErr != nil {
			return nil, nil, nil, nftErr
		}
		// Reading iptables takes a handful of processes, so it is done only where something of ours may
		// be.
		if traces, err := xt.Traces(); err != nil || !traces && !thorough {
			return native, nil, closeAll, err
		}
		if x, err := xt.New(ctx, ""); err == nil {
			others = append(others, x)
		} else if !errors.Is(err, firewall.ErrUnsupported) {
			closeAll()
			return nil, nil, nil, err
		}
		return native, others, closeAll, nil
	}
	x, err := xt.New(ctx, "")
	if err != nil {
		closeAll()
		if name == "auto" || name == "" {
			err = fmt.Errorf("neither backend works here: nftables: %w; iptables: %w", nftErr, err)
		}
		return nil, nil, nil, err
	}
	if nftErr == nil {
		others = append(others, native)
	}
	return x, others, closeAll, nil
}

// iptablesLimits turns what iptables can't enforce of a policy into mistakes of it, at their place;
// what it enforces with a difference becomes a warning.
func iptablesLimits(c *policy.Compiled) error {
	problem := func(l xt.Limit) policy.Problem {
		at := c.Services[l.Service].Location
		return policy.Problem{File: at.File, Line: at.Line, Column: at.Column, Message: l.Error()}
	}
	refused, warned := xt.Limits(c.State, time.Now())
	for _, l := range warned {
		c.Warnings = append(c.Warnings, problem(l))
	}
	if l, needs := xt.NeedsIpset(c.State); needs && !xt.Ipset() {
		refused = append(refused, l)
	}
	if len(refused) == 0 {
		return nil
	}
	var problems policy.Problems
	for _, l := range refused {
		problems = append(problems, problem(l))
	}
	return problems
}
