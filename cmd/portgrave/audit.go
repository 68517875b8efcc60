package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/exposure/rulesetfile"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/host/lease"
	"github.com/portgrave/portgrave/policy"
	"golang.org/x/sys/unix"
)

// runAudit shows who can really reach what, through everybody's rules.
func runAudit(inv *invocation) error {
	if _, err := inv.failOn(); err != nil {
		return err
	}
	files := inv.cli.StringSlice("ruleset")
	if len(files) > 0 && inv.cli.Bool("watch") {
		return usagef("--watch is about this host, and --ruleset about files: leave one out")
	}
	if len(files) > 0 {
		return auditFiles(inv, files)
	}
	for _, name := range []string{"port", "protocol", "interface", "to"} {
		if inv.cli.IsSet(name) {
			return usagef("--%s goes with --ruleset", name)
		}
	}
	if inv.cli.Bool("watch") {
		return watchEvents(inv, "exposure")
	}
	if !mayChangeRules() {
		// Who may not read the rules may be let in by the daemon.
		if report, err := inv.daemonAudit(); !errors.Is(err, api.ErrNoDaemon) &&
			!errors.Is(err, os.ErrPermission) {
			if err != nil {
				return err
			}
			return reportAudit(inv, report)
		}
	}
	inv.settle()
	var prober audit.Prober
	if !inv.cli.Bool("no-probe") {
		prober = audit.NetProber{Timeout: time.Second}
	}
	report, err := auditNow(inv.ctx, inv, prober, 0)
	if err != nil {
		return err
	}
	return reportAudit(inv, report)
}

// auditNow audits the host as it is, with some workers (audit.Input).
func auditNow(
	ctx context.Context,
	inv *invocation,
	prober audit.Prober,
	workers int,
) (audit.Report, error) {
	host, done, err := readHost(ctx)
	defer done()
	if err != nil {
		return audit.Report{}, err
	}
	in, unusable := inv.auditInput()
	in.Rules, in.Host, in.Sockets = host.Rules, host.Host, host.Sockets
	in.IPVS, in.Enter = host.IPVS, host.Enter
	in.Prober, in.Workers = prober, workers
	report, err := audit.Run(ctx, in)
	if err != nil {
		return report, err
	}
	if report.Evidence, err = inv.evidence(in.Now); err != nil {
		report.Unread = append(report.Unread, err.Error())
	}
	if unusable != "" {
		report.Unread = append(report.Unread, unusable)
	}
	var damaged []error
	report.Leases, damaged, err = lease.At(inv.stateDir).List()
	for _, e := range append(damaged, err) {
		if e != nil {
			report.Unread = append(report.Unread, e.Error())
		}
	}
	return report, nil
}

// daemonAudit is what the daemon says of the host.
func (inv *invocation) daemonAudit() (r audit.Report, err error) {
	body, err := api.NewRemote(inv.runDir).Get(inv.ctx, "/v1/audit")
	if err != nil {
		return r, err
	}
	defer func() { _ = body.Close() }()
	return r, json.NewDecoder(body).Decode(&r)
}

// auditInput is what the policy says: what is in force, or else what stands in the policy's files.
// unusable says why neither can be read; "" if one can.
func (inv *invocation) auditInput() (in audit.Input, unusable string) {
	in = audit.Input{Now: time.Now(), Wants: map[string]audit.Wants{}}
	p, c, err := inv.compiled(inv.config, true)
	if err == nil {
		in.Policy, in.Written = &c.State, &c.State
		policyNames(&in, p, c)
		for name, info := range c.Services {
			in.Wants[name] = audit.Wants{TLS: info.TLS == "required", Health: info.Health}
		}
	}
	last, herr := inv.history().Last()
	if herr == nil {
		inForce := last.InForce()
		in.Policy, in.Written = &inForce, &last.State
	} else if err != nil && !errors.Is(herr, history.ErrNone) {
		unusable = fmt.Sprintf("what the policy says is not known: %v", herr)
	} else if err != nil {
		unusable = "the policy can't be used, so nothing counts as declared: " +
			policy.FirstProblem(err).Error()
	}
	return in, unusable
}

// auditFiles answers from dumps of rules.
func auditFiles(inv *invocation, paths []string) error {
	ask, err := offlineQuestion(inv)
	if err != nil {
		return err
	}
	rs, err := loadRulesets(inv, paths)
	if err != nil {
		return err
	}
	in := audit.Input{Now: time.Now()}
	unusable := ""
	switch p, c, err := inv.compiled(inv.config, true); {
	case err == nil && p.Origin != policy.EmbeddedOrigin:
		in.Policy = &c.State
		policyNames(&in, p, c)
	case err != nil && inv.config != "":
		return err
	case err != nil:
		inv.screen.warnf("the policy can't be used, so nothing is judged by it: %v", err)
		unusable = "the policy can't be used: " + policy.FirstProblem(err).Error()
	}
	report := audit.RunOffline(rs, ask, in)
	report.UnjudgedWhy, report.Evidence = unusable, inv.fileEvidence(in.Now)
	if err := report.Err(); err != nil {
		return err
	}
	return reportAudit(inv, report)
}

// offlineQuestion is what the flags ask of dumps.
func offlineQuestion(inv *invocation) (ask audit.Offline, err error) {
	if inv.cli.IsSet("protocol") {
		ask.Protocol, err = firewall.ParseProtocol(inv.cli.String("protocol"))
		if err != nil || !ask.Protocol.HasPorts() {
			return ask, usagef("%q is not a protocol with ports: write --protocol tcp, udp or sctp",
				inv.cli.String("protocol"))
		}
	}
	if inv.cli.IsSet("port") {
		port, err := inv.portOf("port")
		if err != nil {
			return ask, err
		}
		ask.Protocol, ask.Port = port.Protocol, port.First
	}
	if ask.Interface, err = inv.interfaceOf("interface"); err != nil {
		return ask, err
	}
	if !inv.cli.IsSet("to") {
		return ask, nil
	}
	if ask.To, err = inv.addressOf("to"); err != nil {
		return ask, err
	}
	ask.To = ask.To.Unmap().WithZone("")
	if ask.To.IsUnspecified() || ask.To.IsLoopback() && ask.Interface != "lo" {
		return ask, usagef(
			"--to %s: no packet from another machine can be for that address",
			ask.To,
		)
	}
	return ask, nil
}

// dumpMemory is the memory from which garbage of dumps is collected more often. It limits nothing:
// no dump is refused. 90 000 rules of 15 ports each (14 MB) take 4.9 s of a processor and 367 MB
// with it; with 224 MB it took 12.5 s, most of them for garbage. Of larger texts less would cost
// time and save nothing, so each byte beyond dumpText adds four.
const (
	dumpMemory = 352 << 20
	dumpText   = 32 << 20
)

// loadRulesets reads dumps. If a dump of iptables doesn't tell its IP version, it counts as IPv4
// unless its name says otherwise, and a message says so.
func loadRulesets(inv *invocation, paths []string) (*exposure.Ruleset, error) {
	var files []rulesetfile.File
	size := 0
	for _, path := range paths {
		text, err := readDump(path)
		if err != nil {
			return nil, usagef("--ruleset %s: %w", path, cause(err))
		}
		size += text.Len()
		guess := func() exposure.Family {
			family, program := exposure.FamilyIPv4, "iptables-save"
			if base := filepath.Base(path); strings.Contains(base, "v6") ||
				strings.Contains(base, "ip6") {
				family, program = exposure.FamilyIPv6, "ip6tables-save"
			}
			inv.screen.warnf(
				"%s: nothing in it tells which IP version it is of; it is taken for %s's",
				path,
				program,
			)
			return family
		}
		files = append(files, rulesetfile.File{Name: path, Guess: guess, Text: text})
	}
	debug.SetMemoryLimit(dumpMemory + 4*int64(max(size-dumpText, 0)))
	rs, err := rulesetfile.Load(files...)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return rs, nil
}

// cause is an error of a file without its name, which the message has already.
func cause(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// reportAudit prints a report in either form. Exit code 2 on findings that are as severe as
// --fail-on says and aren't accepted.
func reportAudit(inv *invocation, r audit.Report) error {
	if inv.screen.json || inv.screen.columns == 0 { // else both are seen in the same place
		for _, u := range r.Unread {
			inv.screen.warnf("%s", u)
		}
	}
	if inv.screen.json {
		if err := writeReport(inv.screen.out, r); err != nil {
			return err
		}
	} else {
		printAudit(inv.screen, r)
	}
	least, err := inv.failOn()
	if err != nil {
		return err
	}
	for _, f := range r.Findings {
		if f.Accepted == nil && f.Severity.AtLeast(least) {
			return errReport
		}
	}
	return nil
}

// failOn is the least severity of a finding that is worth exit code 2.
func (inv *invocation) failOn() (audit.Severity, error) {
	s := audit.Severity(inv.cli.String("fail-on"))
	if !slices.Contains(audit.Severities(), s) {
		return "", usagef("%q is not a severity: write --fail-on critical, warning or note", s)
	}
	return s, nil
}

// evidence says what a report about this host is about. After an error the generation is unknown.
func (inv *invocation) evidence(now time.Time) (audit.Evidence, error) {
	e := inv.fileEvidence(now)
	e.Host, _ = os.Hostname() // "" where it can't be told
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		e.Kernel = unix.ByteSliceToString(name.Sysname[:]) + " " +
			unix.ByteSliceToString(name.Release[:])
	}
	switch last, err := inv.history().Head(); {
	case err == nil:
		e.Generation, e.AppliedBy, e.AppliedAt = last.Number, last.User, last.Time
	case !errors.Is(err, history.ErrNone):
		e.GenerationUnknown = true
		return e, fmt.Errorf("which generation is in force can't be read: %w", err)
	}
	return e, nil
}

// fileEvidence is evidence for rules from files, which are no host's.
func (inv *invocation) fileEvidence(now time.Time) audit.Evidence {
	return audit.Evidence{At: now.UTC().Truncate(time.Second), Version: version}
}

// policyNames gives an audit the names of the policy's networks, and the findings that it accepts.
func policyNames(in *audit.Input, p *policy.Policy, c *policy.Compiled) {
	in.Networks = c.Networks
	for _, a := range p.Accepts {
		in.Accept = append(in.Accept, audit.Accept{
			Kind: audit.Kind(a.Finding), Ports: a.Ports, Address: a.Address,
			Reason: a.Reason, Until: a.Until,
		})
	}
}
