package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// rules are a way to guard port 9090, and the traffic that is measured under them.
type rules struct {
	by      string
	needs   []string // programs
	size    int      // how long the list is; 0: there is none
	traffic []traffic
	load    func(s *site) error
	ours    bool
}

// traffic is what is sent, and how it is called.
type traffic struct {
	what      string
	port      uint16
	forwarded bool
}

// site is the host on which rules are loaded, for the calling thread is inside.
type site struct {
	ctx       context.Context
	dir       string
	portgrave string
	list      Lists
}

func (s *site) file(name string, content []byte) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, content, 0o600)
}

// run runs a program with a script on standard input.
func (s *site) run(script []byte, name string, args ...string) error {
	path, err := s.file("script", script)
	if err != nil {
		return err
	}
	_, err = timeProgram(
		s.ctx,
		RunOptions{Limit: setupTimeout, Stdin: path, Env: environment(s.dir)},
		name,
		args...)
	return err
}

// dropRules removes what the lab has put there.
func dropRules() error {
	k, err := OpenSocket()
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	b := NewBatch(IPv4)
	b.DropEverything()
	_, err = k.Commit(b)
	return err
}

// applyPolicy loads a policy with portgrave.
func applyPolicy(backend string, services int, established string) func(*site) error {
	return func(s *site) error {
		if _, err := s.file("list.txt", networkFile(s.list.Initial)); err != nil {
			return err
		}
		path, err := s.file("policy.yaml", []byte(packetPolicy(services, established)))
		if err != nil {
			return err
		}
		_, err = timeProgram(
			s.ctx,
			RunOptions{Limit: setupTimeout, Env: environment(s.dir)},
			s.portgrave,
			"--backend",
			backend,
			"--config",
			path,
			"apply",
		)
		return err
	}
}

// packetPolicy guards port 9090 among other services, each with a source of its own.
func packetPolicy(services int, established string) string {
	var b strings.Builder
	fmt.Fprintf(
		&b,
		"version: 1\nestablished: %s\nnetworks:\n  list: {file: list.txt}\nservices:\n",
		established,
	)
	for i := range services - 1 {
		fmt.Fprintf(
			&b,
			"  - {name: other-%d, port: %d, allow: [192.0.2.%d], log: none}\n",
			i,
			20000+i,
			i%256,
		)
	}
	fmt.Fprintf(
		&b,
		"  - {name: metrics, port: 9090, protocol: [tcp, udp], allow: [list, %v], log: none}\n",
		clientNetwork,
	)
	return b.String()
}

// conntrack is what every stateful firewall costs, before it has decided anything.
const conntrack = "table inet bench {\n chain prerouting { type filter hook prerouting priority -110;\n ct direction reply accept\n }\n}\n"

// allRules are the rules to measure with lists of these sizes, the longest last.
func allRules(sizes []int) []rules {
	most := sizes[len(sizes)-1]
	guarded := func(format string, args ...any) []traffic {
		return []traffic{{what: fmt.Sprintf(format, args...), port: 9090}}
	}
	const iptables = "portgrave, iptables"
	list := []rules{
		{
			by:      byConntrack,
			traffic: guarded("no rule but one that tells replies"),
			load:    func(s *site) error { return s.run([]byte(conntrack), "nft", "-f", "-") },
		},
	}
	for _, n := range sizes {
		list = append(
			list,
			rules{
				by:      byPortgrave,
				ours:    true,
				size:    n,
				traffic: guarded("1 service, %s CIDRs", shortCount(n)),
				load:    applyPolicy("nftables", 1, "cut"),
			},
		)
	}
	list = append(
		list,
		rules{
			by:   byPortgrave,
			ours: true,
			size: most,
			load: applyPolicy("nftables", 1000, "cut"),
			traffic: append(
				guarded("1 000 services, %s CIDRs", shortCount(most)),
				traffic{
					what: "unlisted port beside 1 000 services",
					port: 9999,
				},
				traffic{what: "forwarded past 1 000 services", port: 9999, forwarded: true},
			),
		},
		rules{
			by:      byPortgrave,
			ours:    true,
			size:    most,
			load:    applyPolicy("nftables", 1000, "keep"),
			traffic: guarded("1 000 services, %s CIDRs, established: keep", shortCount(most)),
		},
		rules{
			by:    iptables,
			ours:  true,
			needs: []string{"iptables", "ipset"},
			size:  most,
			load:  applyPolicy("iptables", 1000, "cut"),
			traffic: append(guarded("1 000 services, %s CIDRs", shortCount(most)),
				traffic{what: "unlisted port beside 1 000 services", port: 9999}),
		},
	)
	for _, n := range sizes {
		list = append(
			list,
			rules{by: "nft interval set", size: n, traffic: guarded("a set of %s", shortCount(n)),
				load: func(s *site) error { return s.run(nftScript(IPv4, s.withClient()), "nft", "-f", "-") }},
		)
	}
	for _, variant := range []string{"iptables-legacy", "iptables-nft"} {
		list = append(
			list,
			rules{
				by:      "ipset, " + variant,
				needs:   []string{"ipset", variant},
				size:    most,
				traffic: guarded("a set of %s", shortCount(most)),
				load: func(s *site) error {
					if err := s.run(
						ipsetScript(IPv4, s.withClient()), "ipset", "restore",
					); err != nil {
						return err
					}
					return s.run([]byte(ipsetRules), variant+"-restore")
				},
			},
			rules{
				by:      variant,
				needs:   []string{variant},
				size:    1000,
				traffic: guarded("1 000 rules"),
				load: func(s *site) error {
					return s.run(iptablesRules(s.withClient()), variant+"-restore")
				},
			},
		)
	}
	return list
}

// withClient is the list with the client's network at its end.
func (s *site) withClient() []netip.Prefix {
	return append(slices.Clone(s.list.Initial), clientNetwork)
}
