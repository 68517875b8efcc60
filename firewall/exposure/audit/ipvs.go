package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/ipvs"
)

// Services of IPVS take the packets that routing has given to the host, behind the rules of hook
// input but for those of priority 98 and above (ip_vs_ops, net/netfilter/ipvs/ip_vs_core.c).
// Whoever gets that far gets to a real server; what is dropped behind IPVS is not looked at.

// servedByIPVS reports whether a service of IPVS takes the packets to an address and port of the
// host.
func (a *auditor) servedByIPVS(p firewall.Protocol, address netip.Addr, port uint16) bool {
	_, found := serviceAt(a.IPVS, p, netip.AddrPortFrom(address, port))
	return found
}

// serviceAt finds a service of IPVS; they are in order.
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

// ipvs judges who gets to the services of IPVS, by each interface from outside.
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
	r := a.ask(a.evaluator, q, func(p exposure.Piece) bool { return p.Outcome == exposure.Delivered })
	a.present[portKey{s.Protocol, s.At.Port()}] = true
	targets := realServers(s)
	x := Exposure{Protocol: s.Protocol.String(), Port: s.At.Port(), Address: s.At.Addr().String(),
		Interface: iface, Target: strings.Join(targets, ", ")}
	a.behind(&x, targets, s.Protocol)
	a.judge(x, r, []firewall.Family{s.Family()}, []netip.Addr{s.At.Addr()}, nil)
}

// realServers are those of a service, in words.
func realServers(s ipvs.Service) (out []string) {
	for _, t := range s.Targets {
		out = appendOnce(out, t.String())
	}
	return out
}

// isVirtual reports whether the policy's deny leaves an address and port alone: only DNAT knows the
// address, or the host holds it for IPVS.
func (a *auditor) isVirtual(p firewall.Protocol, port uint16, addresses []netip.Addr) bool {
	if a.Policy == nil || a.Host == nil || len(addresses) != 1 {
		return false
	}
	return !a.Host.Owns(addresses[0]) || a.Policy.IsVirtual(p, addresses[0], port)
}
