package main

import (
	"strings"

	"github.com/portgrave/portgrave/cmd/portgrave/input"
	"github.com/portgrave/portgrave/cmd/portgrave/manual"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/policy"
)

// reader reads ports and sources of the command line. Names are those of the policy that --config
// names; without it, of the policy in force, as that is what the kernel enforces and what leases
// add to; without one, of the policy on disk.
func (inv *invocation) reader() input.Reader {
	return input.Reader{Policy: inv.namesOf, ServicesFile: input.DefaultServicesFile}
}

// namedPolicy has the names of a policy, and loads its networks with what is on this host.
type namedPolicy struct {
	*policy.Policy
	inv    *invocation
	called string
}

// Network implements input.Policy.
func (p *namedPolicy) Network(name string) (address.Set, bool, error) {
	how := howToRead{offline: true, files: policy.Files{Patience: glancePatience}}
	return p.Policy.Network(p.inv.ctx, name, p.inv.networks(how, &stage{}))
}

// Called implements input.Policy.
func (p *namedPolicy) Called() string { return p.called }

// namesOf is the policy of reader.
func (inv *invocation) namesOf() (input.Policy, error) {
	p, err := inv.readNames()
	if err != nil {
		return nil, err
	}
	return p, nil
}

// policyNames are the services or the networks of that policy, to complete a command line with.
func (inv *invocation) policyNames(networks bool) (list []manual.Entry, err error) {
	p, err := inv.readNames()
	if err != nil {
		return nil, err
	}
	if networks {
		for _, name := range p.NetworkNames() {
			list = append(list, manual.Entry{Term: name, Text: "network of " + p.called})
		}
		return list, nil
	}
	for _, name := range p.Services() {
		var ports []string
		for _, r := range p.ServicePorts(name) {
			ports = append(ports, r.String())
		}
		list = append(list, manual.Entry{Term: name, Text: strings.Join(ports, ", ")})
	}
	return list, nil
}

// readNames reads that policy once.
func (inv *invocation) readNames() (*namedPolicy, error) {
	if inv.named != nil {
		return inv.named, nil
	}
	if inv.config == "" {
		if p := inv.policyInForce(); p != nil {
			inv.named = &namedPolicy{p, inv, "the policy in force"}
			return inv.named, nil
		}
	}
	p, err := inv.policyOnDisk()
	if err != nil {
		return nil, err
	}
	inv.named = &namedPolicy{p, inv, "the policy"}
	return inv.named, nil
}

// policyOnDisk reads the policy's own files, and hardly waits for who writes them.
func (inv *invocation) policyOnDisk() (*policy.Policy, error) {
	return inv.parsed(inv.config, howToRead{files: policy.Files{Patience: glancePatience}})
}

// policyInForce is the policy of the generation in force; nil if there is none, or this user may
// not read it.
func (inv *invocation) policyInForce() *policy.Policy {
	store := inv.history()
	head, err := store.Head()
	if err != nil || head.TornDown || head.Policy == "" {
		return nil
	}
	text, err := store.Policy(head.Policy)
	if err != nil {
		return nil
	}
	p, err := policy.ReadText(text)
	if err != nil {
		return nil
	}
	return p
}
