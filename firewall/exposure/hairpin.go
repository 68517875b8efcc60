package exposure

import (
	"slices"

	"github.com/portgrave/portgrave/firewall/address"
)

// bridgeCalls reports whether bridged packets of a family meet the IP hooks.
func (h *Host) bridgeCalls(f address.Family) bool {
	if f == address.IPv6 {
		return h.BridgeCallIP6Tables
	}
	return h.BridgeCallIPTables
}

// hairpin is the source that a translation sends its own packets back to, over a bridge that calls
// the IP hooks. Such packets stay bridged (br_nf_pre_routing_finish in
// net/bridge/br_netfilter_hooks.c), and a port in the usual mode takes nothing that it sent itself.
func (w *walk) hairpin(p *packet, r routed) []sourceCheck {
	if w.in == nil || w.in.Kind != "bridge" || r.kind != toWire || r.out != w.in.Index || !p.moved ||
		!w.e.host.bridgeCalls(w.q.Family) ||
		p.headerSource != sourceOwn {
		return nil
	}
	target, known := view{within: p.now.addr}.single()
	if !known {
		return nil
	}
	isPort := func(i Interface) bool { return i.Master == w.in.Index }
	sends := func(i Interface) bool { return isPort(i) && i.Hairpin }
	refuses := func(i Interface) bool { return isPort(i) && !i.Hairpin }
	passes := No
	if all := w.e.host.Interfaces; slices.ContainsFunc(all, sends) {
		if !slices.ContainsFunc(all, refuses) {
			return nil
		}
		passes = Maybe
	}
	return []sourceCheck{{
		NewRanges(One(target)), passes,
		"translated back to its sender, and hairpin mode is off at ports of " + w.in.Name,
	}}
}
