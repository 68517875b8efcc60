package main

import (
	"context"
	"fmt"
	"io"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall/connections"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/ipvs"
	"github.com/portgrave/portgrave/policy"
	"github.com/urfave/cli/v2"
)

// invocation is one run of a verb: its flags, and where things are.
type invocation struct {
	ctx    context.Context
	cli    *cli.Context
	screen *screen
	getenv func(string) string

	config   string
	backend  string
	form     string // of output, one of formsOf
	stateDir string
	runDir   string

	suits    string // see enforcedWith
	unsuited error
	opened   *host.Backends // see local

	acceptShrunk bool           // see policy.Networks
	memory       *policy.Memory // of a daemon; nil in other runs
	daemon       *daemon.Status // what connect was told; nil if no daemon runs
	named        *namedPolicy   // see namesOf; nil until a name is looked up
}

func newInvocation(
	c *cli.Context,
	stdout *output,
	stderr io.Writer,
	getenv func(string) string,
) (*invocation, error) {
	inv := &invocation{
		ctx:    c.Context,
		cli:    c,
		getenv: getenv,
	}
	inv.config, _ = flagOrVariable(c, "config", configVariable, getenv)
	backend, setBackend := flagOrVariable(c, "backend", backendVariable, getenv)
	inv.backend = backend
	inv.stateDir, inv.runDir = host.Dirs(getenv)
	output := flag(c, "output")
	inv.screen = newScreen(stdout, stderr, output, getenv)
	quiet, verbose := switchedOn(c, "quiet"), switchedOn(c, "verbose")
	if quiet && verbose {
		return inv, usagef("--quiet and --verbose contradict each other: leave one out")
	}
	inv.screen.setVolume(quiet, verbose)
	if inv.config == "" && levelWith(c, "config") != nil {
		return inv, usagef("--config needs a file or a folder: write --config policy.yaml")
	}
	if forms := formsOf(c.Command.Name); !slices.Contains(forms, output) {
		last := len(forms) - 1
		return inv, usagef("%q is not a form of output: write --output %s or %s",
			output, strings.Join(forms[:last], ", "), forms[last])
	}
	inv.form = output
	if !slices.Contains([]string{"auto", "nftables", "iptables"}, inv.backend) {
		return inv, usagef(
			"%q is not a backend: %sauto, nftables or iptables",
			inv.backend,
			setBackend,
		)
	}
	return inv, nil
}

// lockWait is how long a run waits for another one to finish.
const lockWait = 30 * time.Second

// compiled reads and compiles the policy. offline uses only what is on this host, and hardly waits.
func (inv *invocation) compiled(
	path string,
	offline bool,
) (*policy.Policy, *policy.Compiled, error) {
	patience := policy.WriterPatience
	if offline {
		patience = glancePatience
	}
	return inv.compiledSo(
		path,
		howToRead{offline: offline, files: policy.Files{Patience: patience}},
	)
}

// compiledSo is compiled for who wants it done in a certain way.
func (inv *invocation) compiledSo(
	path string,
	how howToRead,
) (*policy.Policy, *policy.Compiled, error) {
	reading := inv.screen.progress.begin("reading the policy")
	how.files.Waiting = reading.waits
	p, c, err := inv.read(path, how, reading)
	reading.end()
	if err != nil {
		return p, nil, err
	}
	inv.screen.detailf("the policy is %s", p.Origin)
	if backend, _ := inv.enforcedWith(); backend == "iptables" {
		if err := iptablesLimits(c); err != nil {
			return p, nil, err
		}
	}
	for _, w := range c.Warnings {
		if !how.quiet {
			inv.screen.warnf("%v", w)
		}
	}
	if inv.daemon != nil {
		c.Stale = asTheDaemonSays(c.Stale, inv.daemon.Policy.StaleNetworks)
	}
	for _, s := range c.Stale {
		// A daemon asks the source, and says why it is stale.
		if how.quiet || s.Offline && inv.memory != nil {
			continue
		}
		inv.screen.warnf("%s", staleText(s))
	}
	return p, c, nil
}

func staleText(s policy.StaleNetwork) string {
	return fmt.Sprintf(
		"network %q is stale: %s; it keeps its content of %s",
		s.Name,
		s.Reason,
		s.Since.Format(time.RFC3339),
	)
}

// asTheDaemonSays has networks that were not asked, as this process works offline, be stale for the
// reason that the daemon knows, which asks them.
func asTheDaemonSays(stale, known []policy.StaleNetwork) []policy.StaleNetwork {
	stale = slices.Clone(stale)
	for i, n := range stale {
		for _, k := range known {
			if n.Offline && n.Name == k.Name && n.Source == k.Source {
				stale[i] = k
			}
		}
	}
	return stale
}

// read does so. p is set even if it can't be compiled.
func (inv *invocation) read(
	path string,
	how howToRead,
	reading *stage,
) (*policy.Policy, *policy.Compiled, error) {
	p, err := inv.parsed(path, how)
	if err != nil {
		return nil, nil, err
	}
	if how.parsed != nil {
		how.parsed(p)
	}
	c, err := p.Compile(inv.ctx, inv.networks(how, reading))
	return p, c, err
}

// networks says how to load networks.
func (inv *invocation) networks(how howToRead, reading *stage) *policy.Networks {
	networks := &policy.Networks{
		Dir:          filepath.Join(inv.stateDir, "networks"),
		Offline:      how.offline,
		Files:        how.files,
		AcceptShrunk: inv.acceptShrunk,
		Memory:       inv.memory,
		OnEntries:    reading.counted,
		Connected:    hostview.Connected,
		Virtual:      ipvs.VirtualServices,
		Warn: func(err error) {
			if mayChangeRules() { // others may not keep content, and need not
				inv.screen.warnf("%v", err)
			}
		},
	}
	if err := internet(); err != nil {
		refuseInternet(networks, err)
	}
	return networks
}

// parsed reads the policy at a path, or from the text of one that was in force before.
func (inv *invocation) parsed(path string, how howToRead) (*policy.Policy, error) {
	if how.text != nil {
		return policy.ReadText(how.text)
	}
	if how.from != nil {
		return policy.ReadFrom(how.from, path)
	}
	return policy.Read(
		policy.Options{
			Path:  path,
			Files: how.files,
		},
	)
}

// enforcedWith is the backend that a policy must suit: the one that was found out, or named, or
// that auto takes. The error is that of host.ResolveBackend.
func (inv *invocation) enforcedWith() (string, error) {
	if inv.suits == "" {
		inv.suits, inv.unsuited = host.ResolveBackend(inv.backend)
	}
	return inv.suits, inv.unsuited
}

func (inv *invocation) history() *history.Store { return history.View(inv.stateDir) }

// who is the user and, over SSH, the client's address, for the history. sudo's user counts.
func (inv *invocation) who() (name, from string) {
	name = inv.getenv("SUDO_USER")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	if client, _, ok := connections.Session(inv.getenv); ok {
		from = client.Addr().String()
	}
	return name, from
}
