package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Host is what a policy is held against where it is to be enforced.
type Host struct {
	Interfaces []string
	Addresses  []netip.Addr
	// VRFs are, where packets of interfaces in a VRF are known by its name only, those VRFs by
	// interface.
	VRFs map[string]string
	// Raw are the protocols without ports for which some program listens on a raw socket.
	Raw []firewall.Protocol
}

// OnHost tells what of a policy can't work on a host as it is now: services that name interfaces or
// addresses that it lacks or interfaces whose packets bear a VRF's name, and programs that
// unlisted: deny would keep from hearing anything.
func (c *Compiled) OnHost(h Host, origin string, now time.Time) []Problem {
	var out []Problem
	for _, svc := range c.State.Services {
		at := c.Services[svc.Name].Location
		warn := func(format string, args ...any) {
			message := fmt.Sprintf("service %q: ", svc.Name) + fmt.Sprintf(format, args...)
			out = append(out, Problem{File: at.File, Line: at.Line, Column: at.Column, Message: message})
		}
		for _, p := range svc.Interfaces {
			has := func(name string) bool { return firewall.MatchInterface(p, name) }
			if slices.ContainsFunc(h.Interfaces, has) {
				for _, name := range h.Interfaces {
					if vrf := h.VRFs[name]; has(name) && vrf != "" &&
						!slices.ContainsFunc(svc.Interfaces, matching(vrf)) {
						warn(
							"the interface %q is in the VRF %q, and iptables sees the VRF's name only: nobody gets in by it unless "+
								"interfaces names %q, or nftables enforces the policy",
							name,
							vrf,
							vrf,
						)
					}
				}
				continue
			}
			hint := ""
			if prefix, plus := strings.CutSuffix(p, "+"); plus {
				hint = fmt.Sprintf("; names that begin with %s are written %q", prefix, prefix+"*")
			}
			warn("this host has no interface %q now, and nobody gets in by it until it has%s", p, hint)
		}
		for p := range svc.Addresses.All() {
			for a := p.Addr(); p.Contains(a) && len(out) < maxHostWarnings; a = a.Next() {
				if !slices.Contains(h.Addresses, a) && !a.IsMulticast() && a != broadcast {
					warn("this host has no address %s now, and nobody gets in by it until it has", a)
				}
			}
		}
	}
	index := c.State.Index()
	for _, p := range h.Raw {
		f := firewall.Flow{Protocol: p, Source: unspecified}
		if d := index.Decide(f, now); d.Verdict == firewall.Refused && d.Service == "" {
			out = append(
				out,
				Problem{
					File: origin,
					Message: fmt.Sprintf("a program listens for %s on a raw socket, and no service "+
						"lists that: unlisted: deny refuses it (protocol: %s in a service lets it in)", p, protocolText(p)),
				},
			)
		}
	}
	return out[:min(len(out), maxHostWarnings)]
}

// matching tells the patterns that an interface's name matches.
func matching(name string) func(pattern string) bool {
	return func(pattern string) bool { return firewall.MatchInterface(pattern, name) }
}

// maxHostWarnings bounds what a policy for another host is told here.
const maxHostWarnings = 100

// broadcast is an address that every host takes packets to.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
