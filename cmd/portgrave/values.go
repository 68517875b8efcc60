package main

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// The values of flags. Every error names what was given, and what to write instead.

// notA is a value that a flag doesn't take.
func (inv *invocation) notA(what, flag string) error {
	return usagef("%q is not %s: write --%s %s", inv.cli.String(flag), what, flag,
		exampleOf(inv.cli, flag))
}

// addressOf is the address that a flag names.
func (inv *invocation) addressOf(flag string) (netip.Addr, error) {
	a, err := netip.ParseAddr(inv.cli.String(flag))
	if err != nil {
		return a, inv.notA("an address", flag)
	}
	return a, nil
}

// portOf is the one port that a flag names, in any form that the reader takes. A protocol that
// --protocol names has to agree with it; without that flag, a bare number is tcp.
func (inv *invocation) portOf(flag string) (firewall.PortRange, error) {
	var want firewall.Protocol
	if inv.cli.IsSet("protocol") {
		var err error
		if want, err = firewall.ParseProtocol(inv.cli.String("protocol")); err != nil {
			return firewall.PortRange{}, usagef("--protocol: %w", err)
		}
	}
	r, err := inv.reader().OnePort(inv.cli.String(flag), want)
	if err != nil {
		return r, usagef("--%s: %w", flag, err)
	}
	return r, nil
}

// portWords are ports as every version of the daemon reads them.
func portWords(ports []firewall.PortRange) string {
	var words []string
	for _, p := range ports {
		words = append(words, p.String())
	}
	return strings.Join(words, ",")
}

// interfaceOf is the name of an interface that a flag gives; "" if it is not set.
func (inv *invocation) interfaceOf(flag string) (string, error) {
	name := inv.cli.String(flag)
	pattern := strings.HasSuffix(name, "*") || firewall.CheckInterfacePattern(name) != nil
	if inv.cli.IsSet(flag) && pattern && name != "lo" {
		return "", inv.notA("the name of an interface", flag)
	}
	return name, nil
}

// generationOf is the generation that a flag names; 0 is a host without rules.
func (inv *invocation) generationOf(flag string) (int, error) {
	n, ok := generationNumber(inv.cli.String(flag))
	if !ok {
		return 0, usagef(
			"%q is not a generation number: write --%s 3; portgrave history lists them",
			inv.cli.String(flag),
			flag,
		)
	}
	return n, nil
}

// generationNumber reads the number of a generation.
func generationNumber(text string) (n int, ok bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0
}
