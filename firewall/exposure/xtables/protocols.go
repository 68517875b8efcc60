package xtables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iana"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// protocolsOf are the protocols that a match is for, by number. Without one of them in -p the
// kernel refuses the rule (struct xt_match, proto, in net/netfilter and net/ipv4/netfilter; for
// multiport its check function).
var protocolsOf = map[string][]byte{
	"tcp": {6}, "udp": {17}, "udplite": {136}, "sctp": {132}, "dccp": {33}, "esp": {50},
	"icmp": {1}, "icmp6": {58}, "icmpv6": {58},
	"multiport": {6, 17, 33, 132, 136},
}

// checkProtocol notes a match for protocols that the rule isn't for: iptables refuses such a rule,
// so what its writer meant can't be known.
func (x *translator) checkProtocol(r iptsave.Rule) {
	i := slices.IndexFunc(r.Header, func(o iptsave.Option) bool { return o.Name == "-p" })
	for _, e := range r.Matches {
		wanted := protocolsOf[e.Name]
		if e.Name == "ah" && x.family == exposure.FamilyIPv4 { // in IPv6 it looks behind headers
			wanted = []byte{51}
		}
		if wanted == nil || x.wrong != nil {
			continue
		}
		if i >= 0 && !r.Header[i].Not {
			name := strings.ToLower(r.Header[i].Value())
			n, known := iana.Protocol(name)
			if !known && name != "all" || slices.Contains(wanted, n) {
				continue
			}
		}
		column := 0
		if len(e.Options) > 0 {
			column = e.Options[0].Column
		}
		x.wrong = &iptsave.Error{Column: column, Err: fmt.Errorf(
			"%s needs -p with a protocol that it is for: iptables refuses this rule",
			firewall.Excerpt(e.String()),
		)}
	}
}
