package main

import (
	"context"
	"log/slog"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/policy"
)

// runDaemon keeps the kernel on the policy until it is told to end.
func runDaemon(inv *invocation) error {
	ctx, stop := signal.NotifyContext(inv.ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// One more than there are processors: reading who changed the rules, while he still lives, must not wait for our own work.
	runtime.GOMAXPROCS(runtime.NumCPU() + 1)
	log := daemonLog(inv)
	inv.useBackendInForce() // what is in force is kept where it is; only apply moves it
	r, closeAll, err := inv.open(inv.backend, false)
	if err != nil {
		return err
	}
	defer closeAll()
	r.Log = log
	store, unlock, err := inv.locked()
	if err != nil {
		return err
	}
	unlock() // the loop takes it each time it writes
	commits, closeCommits, err := openCommits(r)
	if err != nil {
		return err
	}
	defer closeCommits()
	reports, run, err := openReports(inv, log)
	if err != nil {
		return err
	}
	var reporting sync.WaitGroup
	defer reporting.Wait()
	defer stop() // before waiting
	reporting.Go(func() { run(ctx) })
	var heard daemon.Reports
	if reports != nil {
		heard = reports
	}
	return daemon.Run(ctx, daemon.Config{
		Reports:    heard,
		Reconciler: r, Store: store, Commits: commits, EventDir: inv.stateDir, RunDir: inv.runDir, Version: version, Log: log,
		Read: func(context.Context) (*policy.Policy, *policy.Compiled, error) {
			return inv.compiled(inv.config, false)
		},
		WithLeases: inv.withLeases,
		Folders:    func(p *policy.Policy) []string { return policy.Folders(policy.Options{Path: inv.config}, p) },
		TakeBack: func(context.Context) (bool, error) {
			return takeBack(inv, r, store, time.Now())
		},
	})
}

// daemonLog is text on a terminal, else JSON, a line an event. Under systemd both end in the journal.
func daemonLog(inv *invocation) *slog.Logger {
	if isTerminal(inv.screen.err) {
		return slog.New(slog.NewTextHandler(inv.screen.err, nil))
	}
	return slog.New(slog.NewJSONHandler(inv.screen.err, nil))
}
