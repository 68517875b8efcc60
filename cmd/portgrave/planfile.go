package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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
	if inv.cli.String(flag) == "-" && flag == "out" {
		return usagef("--out needs a file: write --out plan.json")
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
	f, err := openToWrite(path, os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.Write(append(text, '\n'))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("the plan could not be kept: %w", err)
	}
	return nil
}

// readPlan is the plan in a file.
func readPlan(path string) (*host.Fingerprint, error) {
	text, err := readBounded(path, maxPlanFile)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, err
	case errors.Is(err, errFIFO), errors.Is(err, errFolder), errors.Is(err, errDevice):
		return nil, usagef("--plan %s: %w: name the file that plan --out has written", path, err)
	case err != nil:
		return nil, usagef("--plan %s: %w", path, cause(err))
	case text.Len() > maxPlanFile:
		return nil, usagef("%s is too large for a plan", path)
	}
	var d struct {
		Fingerprint *host.Fingerprint `json:"fingerprint"`
	}
	if err := json.Unmarshal(text.Bytes(), &d); err != nil || d.Fingerprint == nil {
		return nil, usagef("%s holds no plan: make one with portgrave plan --out %s", path, path)
	}
	return d.Fingerprint, nil
}
