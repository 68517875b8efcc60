package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Host is the host on which a policy is to be enforced.
type Host struct {
	Interfaces []string
	Addresses  []netip.Addr
	// VRFs maps interfaces to their VRF. It is set if packets carry only the VRF's name, as in
	// iptables.
	VRFs map[string]string
	// Raw lists the protocols without ports that programs receive on raw sockets.
	Raw []firewall.Protocol
}

// OnHost warns about parts of a policy that can't work on a host as it is now; c is the policy
// compiled. These are services that name missing interfaces or addresses, or interfaces in a VRF,
// and programs from which unlisted: deny would keep all packets.
func (p *Policy) OnHost(c *Compiled, h Host, now time.Time) []Problem {
	var out []Problem
	for _, svc := range c.State.Services {
		at := c.Services[svc.Name].Location
		warn := func(rule, format string, args ...any) {
			message := fmt.Sprintf("service %q: ", svc.Name) + fmt.Sprintf(format, args...)
			out = append(out, Problem{
				File: at.File, Line: at.Line, Column: at.Column, Message: message, Rule: rule,
			})
		}
		for _, wanted := range svc.Interfaces {
			has := func(name string) bool { return firewall.MatchInterface(wanted, name) }
			if slices.ContainsFunc(h.Interfaces, has) {
				for _, name := range h.Interfaces {
					if vrf := h.VRFs[name]; has(name) && vrf != "" &&
						!slices.ContainsFunc(svc.Interfaces, matchesName(vrf)) {
						warn(
							RuleInterfaceInVRF,
							"the interface %q is in the VRF %q, and iptables sees the VRF's name "+
								"only: nobody gets in by it unless interfaces names %q, or "+
								"nftables enforces the policy",
							name,
							vrf,
							vrf,
						)
					}
				}
				continue
			}
			hint := ""
			if prefix, plus := strings.CutSuffix(wanted, "+"); plus {
				hint = fmt.Sprintf("; names that begin with %s are written %q", prefix, prefix+"*")
			}
			warn(RuleMissingInterface,
				"this host has no interface %q now, and nobody gets in by it until it has%s",
				wanted, hint)
		}
		for prefix := range svc.Addresses.All() {
			for a := prefix.Addr(); prefix.Contains(a) && len(out) < maxHostWarnings; a = a.Next() {
				if !slices.Contains(h.Addresses, a) && !a.IsMulticast() && a != broadcast {
					warn(RuleMissingAddress,
						"this host has no address %s now, and nobody gets in by it until it has", a)
				}
			}
		}
	}
	index := c.State.Index()
	for _, raw := range h.Raw {
		f := firewall.Flow{Protocol: raw, Source: unspecified}
		if d := index.Decide(f, now); d.Verdict == firewall.Refused && d.Service == "" {
			out = append(out, Problem{
				File: p.unlistedAt.File, Line: p.unlistedAt.Line, Column: p.unlistedAt.Column,
				Rule: RuleRawSocket,
				Message: fmt.Sprintf("a program listens for %s on a raw socket, and no "+
					"service lists that: unlisted: deny refuses it (protocol: %s in a "+
					"service lets it in)", raw, protocolText(raw)),
			})
		}
	}
	return out[:min(len(out), maxHostWarnings)]
}

// matchesName returns a function that reports whether a pattern matches an interface's name.
func matchesName(name string) func(pattern string) bool {
	return func(pattern string) bool { return firewall.MatchInterface(pattern, name) }
}

// maxHostWarnings bounds the warnings about a policy that is for another host.
const maxHostWarnings = 100

// broadcast is an address at which every host accepts packets.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
