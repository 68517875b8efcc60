package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/host"
)

// A file of a plan is what plan -o json prints, with the plan's fingerprint. apply --plan compiles
// the policy anew and carries the plan out if all of it still holds, so that a file can only stop
// an apply, and needs no protection.

// maxPlanFile bounds what is read of a file: a plan that lists every source has less.
const maxPlanFile = 64 << 20

// checkPlanFile checks a flag that names the file of a plan.
func checkPlanFile(inv *invocation, flag string, generations bool) error {
	if inv.cli.String(flag) == "" {
		return usagef("--%s needs a file: write --%s plan.json", flag, flag)
	}
	if generations {
		return usagef("--out keeps a plan for apply: leave --from out")
	}
	return nil
}

// canSendPlans says what to do about a daemon that doesn't know plans in files.
func (inv *invocation) canSendPlans(flag string) error {
	if inv.cli.IsSet(flag) && inv.daemon != nil && inv.daemon.Version != version {
		return fmt.Errorf("--%s needs a daemon of this version (%s), and version %s runs: "+
			"restart it with systemctl restart portgrave", flag, version, inv.daemon.Version)
	}
	return nil
}

func keepPlan(path string, d host.Difference) error {
	text, err := json.MarshalIndent(api.WithLists(d), "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("the plan could not be kept: %w", err)
	}
	return nil
}

// readPlan is the plan in a file.
func readPlan(path string) (*host.Fingerprint, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxPlanFile {
		return nil, usagef("%s is too large for a plan", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var d struct {
		Fingerprint *host.Fingerprint `json:"fingerprint"`
	}
	if err := json.Unmarshal(text, &d); err != nil || d.Fingerprint == nil {
		return nil, usagef("%s holds no plan: make one with portgrave plan --out %s", path, path)
	}
	return d.Fingerprint, nil
}
