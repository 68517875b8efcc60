package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/ipvs"
)

// Services of IPVS take packets that routing has delivered to the host, after the rules of hook
// input with a priority below 98 (ip_vs_ops, net/netfilter/ipvs/ip_vs_core.c). Packets that get
// there get to a real server. Drops behind IPVS aren't followed.

// servedByIPVS reports whether a service of IPVS takes the packets to an address and port of the
// host.
func (a *auditor) servedByIPVS(p firewall.Protocol, address netip.Addr, port uint16) bool {
	_, found := serviceAt(a.IPVS, p, netip.AddrPortFrom(address, port))
	return found
}

// serviceAt finds a service of IPVS in a sorted list.
func serviceAt(list []ipvs.Service, p firewall.Protocol, at netip.AddrPort) (ipvs.Service, bool) {
	want := firewall.VirtualService{Protocol: p, At: at}
	i, found := slices.BinarySearchFunc(
		list,
		want,
		func(s ipvs.Service, v firewall.VirtualService) int {
			return s.Compare(v)
		},
	)
	if !found {
		return ipvs.Service{}, false
	}
	return list[i], true
}

// ipvs judges which sources get to the services of IPVS, by each interface to the outside.
func (a *auditor) ipvs() {
	list := a.IPVS
	if len(list) > maxVirtual {
		a.report.Unread = append(
			a.report.Unread,
			fmt.Sprintf("%d services of IPVS: only %d were checked", len(list), maxVirtual),
		)
		list = list[:maxVirtual]
	}
	for _, s := range list {
		for _, i := range a.outside() {
			a.ipvsService(s, i.Name)
		}
	}
}

func (a *auditor) ipvsService(s ipvs.Service, iface string) {
	q := exposure.Question{Family: s.Family(), Protocol: s.Protocol, Interface: iface,
		Destination: s.At.Addr(), Port: s.At.Port()}
	r := a.ask(
		a.evaluator, q, func(p exposure.Piece) bool { return p.Outcome == exposure.Delivered },
	)
	a.present[portKey{s.Protocol, s.At.Port()}] = true
	targets := realServers(s)
	x := Exposure{Protocol: s.Protocol.String(), Port: s.At.Port(), Address: s.At.Addr().String(),
		Interface: iface, Target: strings.Join(targets, ", ")}
	a.behind(&x, targets, s.Protocol)
	a.judge(x, r, []address.Family{s.Family()}, []netip.Addr{s.At.Addr()}, nil)
}

// realServers are the real servers of a service, in words.
func realServers(s ipvs.Service) (out []string) {
	for _, t := range s.Targets {
		out = appendOnce(out, t.String())
	}
	return out
}

// isVirtual reports whether the policy's deny doesn't apply to an address and port: only DNAT knows
// the address, or the host holds it for IPVS.
func (a *auditor) isVirtual(p firewall.Protocol, port uint16, addresses []netip.Addr) bool {
	if a.Policy == nil || a.Host == nil || len(addresses) != 1 {
		return false
	}
	return !a.Host.Owns(addresses[0]) || a.Policy.IsVirtual(p, addresses[0], port)
}
