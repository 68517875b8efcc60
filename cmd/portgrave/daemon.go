package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall/coexist"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/ipvs"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd/notify"
	"golang.org/x/sys/unix"
)

// runDaemon keeps the kernel on the policy until it is told to end.
func runDaemon(inv *invocation) error {
	inv.screen.progress = nil // a log has no use for it
	ctx, stop := signal.NotifyContext(inv.ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// One more than there are processors: reading who changed the rules, while he still lives, must
	// not wait for our own work.
	runtime.GOMAXPROCS(runtime.NumCPU() + 1)
	log := daemonLog(inv)
	// What is in force is kept where it is; only apply moves it.
	backend := host.BackendInForce(inv.history(), inv.backend)
	r, closeAll, err := host.OpenReconciler(inv.ctx, backend, false, log)
	if err != nil {
		return err
	}
	defer closeAll()
	inv.suits, inv.memory = r.Backend.Name(), &policy.Memory{}
	store, err := history.Open(inv.stateDir)
	if errors.Is(err, unix.EROFS) { // what is in force is kept up all the same
		log.Error("nothing new can be put in force", "error", err)
		store, err = history.View(inv.stateDir), nil
	}
	if err != nil {
		return err
	}
	heard, err := daemon.Listen(ctx, r, log)
	if err != nil {
		return err
	}
	defer heard.Close()
	reports, denials, run, err := openReports(inv, log)
	if err != nil {
		return err
	}
	var reporting sync.WaitGroup
	defer reporting.Wait()
	defer stop() // before waiting
	reporting.Go(func() { run(ctx) })
	var reporter daemon.Reports
	if reports != nil {
		reporter = reports
	}
	return daemon.Run(ctx, daemon.Config{
		Reports:     reporter,
		Denials:     denials,
		Reconciler:  r,
		Store:       store,
		Commits:     heard.Commits,
		Polled:      heard.Polled,
		Protect:     heard.Protect,
		CannotPrint: coexist.HostNFT().CannotPrint,
		EventDir:    inv.stateDir,
		RunDir:      inv.runDir,
		Version:     version,
		Log:         log,
		Read: func(_ context.Context, how daemon.ReadOptions) (
			*policy.Policy, *policy.Compiled, error,
		) {
			return inv.compiledSo(inv.config, howToRead{
				parsed: how.Parsed,
				files:  policy.Files{Patience: how.Patience, Unfinished: how.Unfinished},
			})
		},
		ReadText: func(_ context.Context, text []byte, how daemon.ReadOptions) (
			*policy.Policy, *policy.Compiled, error,
		) {
			return inv.compiledSo("", howToRead{
				text:    text,
				offline: how.Offline,
				files:   policy.Files{Patience: how.Patience, Unfinished: how.Unfinished},
			})
		},
		Compile: inv.compileFor,
		Memory:  inv.memory,
		Audit: func(ctx context.Context) (audit.Report, error) {
			return auditNow(ctx, inv, nil, 1)
		},
		Effect:  func(ctx context.Context, d *host.Difference) { addEffect(ctx, d, 1) },
		Virtual: ipvs.Virtual,
		Folders: func(p *policy.Policy) []string {
			return policy.Folders(policy.Options{Path: inv.config}, p)
		},
		Local: &host.Local{
			StateDir:   inv.stateDir,
			UsageFile:  filepath.Join(inv.runDir, usageFile),
			Backends:   host.BackendsBeside(r, log),
			Now:        time.Now,
			LockWait:   daemon.LockWait,
			Written:    api.Written,
			StartGuard: inv.guardTrial,
			Tracking:   connections.ReadTracking,
			Untracked:  host.Untracked,
		},
	})
}

// daemonLog is text on a terminal, entries with fields where standard error leads to the journal,
// else JSON, a line an event.
func daemonLog(inv *invocation) *slog.Logger {
	if isTerminal(inv.screen.err) {
		return slog.New(slog.NewTextHandler(inv.screen.err, nil))
	}
	lines := slog.NewJSONHandler(inv.screen.err, nil)
	if f, ok := inv.screen.err.(*os.File); ok && notify.JournalStream(f, inv.getenv) &&
		journal.Enabled() {
		return slog.New(notify.Journal(journal.Send, lines))
	}
	return slog.New(lines)
}
