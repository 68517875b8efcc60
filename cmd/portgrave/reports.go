package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall/denied"
)

// openReports begins to tell who was refused, as the flags of the daemon say. An error that only
// means that somebody else listens already (ulogd, tcpdump) is a warning: the rules don't depend on
// it.
func openReports(
	inv *invocation,
	log *slog.Logger,
) (*denied.Listener, *daemon.Denials, func(context.Context), error) {
	emit, closeFile, err := reportWriter(inv, log)
	if err != nil || emit == nil {
		return nil, nil, func(context.Context) {}, err
	}
	l, err := denied.Open()
	if errors.Is(err, denied.ErrTaken) {
		closeFile()
		log.Warn("who is refused is not reported", "error", err)
		return nil, nil, func(context.Context) {}, nil
	}
	if err != nil {
		closeFile()
		return nil, nil, nil, err
	}
	denials := daemon.NewDenials()
	return l, denials, func(ctx context.Context) {
		defer closeFile()
		if err := l.Run(ctx, denials.Tee(emit)); err != nil && ctx.Err() == nil {
			log.Error("who is refused is not reported any more", "error", err)
		}
	}, nil
}

// reportWriter is where events go: nil for --denied off.
func reportWriter(
	inv *invocation,
	log *slog.Logger,
) (emit func(denied.Event) error, closeFile func(), err error) {
	format, path := inv.cli.String("denied"), inv.cli.String("denied-file")
	// itself, as what a full disk loses now is no reason to write nothing later
	to := inv.screen.out.to
	closeFile = func() {}
	if path != "" && (format == "log" || format == "off") {
		return nil, nil, usagef("--denied-file needs --denied json or cef")
	}
	if path != "" {
		f, err := openToWrite(path, os.O_APPEND, 0o640)
		if err != nil {
			return nil, nil, fmt.Errorf("the file for refused packets: %w", err)
		}
		to, closeFile = f, func() { _ = f.Close() }
	}
	switch format {
	case "log":
		return denied.Slog(log, slog.LevelInfo), closeFile, nil
	case "json":
		return denied.JSON(to), closeFile, nil
	case "cef":
		host, _ := os.Hostname()
		return denied.CEF(to, version, host), closeFile, nil
	case "off":
		return nil, closeFile, nil
	}
	closeFile()
	return nil, nil, usagef(
		"%q is not a form of reports: write --denied log, json, cef or off",
		format,
	)
}
