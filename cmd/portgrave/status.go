package main

import (
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall/coexist"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/policy"
	"github.com/portgrave/portgrave/systemd/manager"
)

type statusResult struct {
	host.Firewall
	Services []serviceStatus `json:"services"`
	Policy   policyStatus    `json:"policy"`
	// what the start of the system put in force; null if portgrave had no part in it
	Boot          *host.Booted          `json:"boot"`
	Daemon        *daemon.Status        `json:"daemon"` // null if none runs
	StaleNetworks []policy.StaleNetwork `json:"stale_networks"`
	// files that don't load at boot because ours are in them
	SavedRules []coexist.SavedRules `json:"saved_rules"`

	bootMissed bool // portgrave was to have a part in it
}

// serviceStatus is a service in force, and what the policy says of it besides.
type serviceStatus struct {
	host.Service
	Info *policy.ServiceInfo `json:"info,omitempty"` // null where the policy couldn't be read
}

type policyStatus struct {
	Origin  string `json:"origin"`
	Applied bool   `json:"applied"` // the policy as it is now is the generation in force
	// Waits: it is not, and nothing puts it in force by itself: not before apply or reload.
	Waits bool `json:"waits"`
	// Follow is what a daemon puts in force by itself: what the policy in force says of that, or
	// else the one on disk.
	Follow string `json:"follow"`
	Error  string `json:"error"`
}

// waits reports whether a policy that is not in force waits for somebody to apply it. sameText: it
// was not edited, so that only its networks hold something else by now.
func waits(r statusResult, sameText bool) bool {
	switch {
	case r.Policy.Applied:
		return false
	case r.TornDown != nil || r.Daemon == nil:
		return true
	case len(r.SetAside) > 0:
		return true
	case r.Policy.Follow == policy.FollowAll:
		return false
	}
	return r.Policy.Follow == policy.FollowNone || !sameText
}

// status shows one screen. A policy that can't be read is part of what it shows, not a failure.
func status(inv *invocation) error {
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result := statusResult{
		StaleNetworks: []policy.StaleNetwork{},
		SavedRules:    coexist.HostFiles().Find(),
	}
	result.Firewall, err = during(
		inv.screen,
		"reading the kernel's rules",
		func() (host.Firewall, error) {
			return ops.Firewall(inv.ctx, host.FirewallRequest{Backend: inv.backend})
		},
	)
	if err != nil {
		return err
	}
	result.Services = make([]serviceStatus, len(result.Firewall.Services))
	for i, svc := range result.Firewall.Services {
		result.Services[i].Service = svc
	}
	inv.warn(result.Warnings)
	if result.Daemon, err = inv.daemonStatus(); err != nil {
		inv.screen.warnf("%v", err)
	}
	result.Boot = host.LastBooted(inv.runDir, bootclock.System().BootID)
	result.bootMissed = result.Boot == nil && inv.getenv("PORTGRAVE_RUN_DIR") == "" &&
		manager.WantsBoot()
	inv.suits = result.Backend
	onDisk := inv.onDisk(ops, result.Firewall)
	p, perr := onDisk.policy, onDisk.err
	if p != nil {
		result.Policy.Origin, result.Policy.Follow = p.Origin, p.Daemon.Follow
	}
	if d := result.Daemon; d != nil && d.Policy.Follow != "" {
		result.Policy.Follow = d.Policy.Follow
	}
	if perr != nil {
		result.Policy.Error = perr.Error()
	} else {
		result.StaleNetworks = orEmpty(onDisk.stale)
		result.Policy.Applied = onDisk.inForce
		result.Policy.Waits = waits(result, result.PolicyText == history.PolicyName(p.Text()))
		for i, s := range result.Services {
			if info, ok := onDisk.infos[s.Policy]; ok {
				result.Services[i].Info = &info
			}
		}
	}
	if service := inv.cli.Args().First(); service != "" {
		return inv.statusOf(service, result)
	}
	if inv.screen.json {
		return inv.screen.object(result)
	}
	printStatus(inv.screen, result, time.Now())
	return nil
}

// policyOnDisk is the policy as it is now, as far as status shows it.
type policyOnDisk struct {
	policy  *policy.Policy // nil if it can't be read
	err     error          // why it can't be used
	inForce bool           // it means what is in force
	infos   map[string]policy.ServiceInfo
	stale   []policy.StaleNetwork
}

// onDisk reads the policy and compares it with what is in force. The daemon does that where it can.
func (inv *invocation) onDisk(ops host.Operations, f host.Firewall) policyOnDisk {
	if remote, there := ops.(*api.Remote); there {
		if x := inv.throughDaemon(remote, false); x != nil {
			same := f.Generation != nil && x.InForce == f.Generation.Generation
			return policyOnDisk{policy: x.policy, inForce: same, infos: x.policy.Infos()}
		}
	}
	p, c, err := inv.compiled(inv.config, true)
	if err != nil {
		return policyOnDisk{policy: p, err: err}
	}
	same := f.Generation != nil && f.PolicyDigest == host.Digest(c.State)
	return policyOnDisk{policy: p, inForce: same, infos: c.Services, stale: c.Stale}
}
