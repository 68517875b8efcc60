package main

import (
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/exposure/live"
	"github.com/portgrave/portgrave/policy"
)

// importPolicy writes the policy that reproduces what is exposed today, from whatever firewall is
// there.
func importPolicy(inv *invocation) error {
	inv.settle()
	host, err := live.Read(inv.ctx)
	if err != nil {
		return err
	}
	report, err := audit.Run(
		inv.ctx,
		audit.Input{
			Rules:   host.Rules,
			Host:    host.Host,
			Sockets: host.Sockets,
			IPVS:    host.IPVS,
			Now:     time.Now(),
		},
	)
	if err != nil {
		return err
	}
	for _, u := range report.Unread {
		inv.screen.warnf("%s", u)
	}
	var services []firewall.Service
	purposes := map[string]string{}
	for _, x := range audit.Import(report) {
		services, purposes[x.Name] = append(services, x.Service), x.Purpose
	}
	document := "# What this host exposed on " + time.Now().
		Format(time.DateOnly) +
		", as portgrave import found it. Look it through: what is open today need not be.\n" + policy.Document(
		services,
		purposes,
	)
	// What is printed must be usable: one that can't be read back is a mistake of ours.
	if _, err := policy.Parse("import", []byte(document)); err != nil {
		return err
	}
	if inv.screen.json {
		return inv.screen.object(map[string]any{"policy": document, "services": len(services)})
	}
	inv.screen.printf("%s", document)
	return nil
}
