package xt

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// slots says under which of two names the sets of a service and family stand. A set whose rules change together with its
// elements is loaded under the other name before the rules switch to it.
type slots map[slot]bool

type slot struct {
	service string
	family  firewall.Family
}

// host is what compile must know of the host: what there is to enforce with.
type host struct {
	variant  variant          // the one to write to
	has      map[variant]bool // variants with programs for all families
	ipset    bool
	families []firewall.Family
	// security: the family's kernel has table security, to catch what gets past REJECT.
	security map[firewall.Family]bool
}

// markBit tells REJECT and table security which packets are refused: one bit of the packet mark that none of
// kube-proxy (0x4000, 0x8000), Calico (0xffff0000), Cilium (0xf00), Tailscale (0xff0000) and AWS VPC CNI (0x80) uses.
const markBit = "0x2000/0x2000"

// compile is the ruleset that enforces a State at a moment: a pure function. Sources that have expired
// by then are left out; their set and rule stay, so that an end that comes by itself is no drift.
func compile(s firewall.State, now time.Time, use slots, h host) *ruleset {
	r := newRuleset()
	r.readAt = now
	for _, svc := range s.Services {
		r.names[id(svc.Name)] = svc.Name
	}
	for _, f := range h.families {
		c := compiler{state: s, variant: h.variant, family: f, slots: use, ruleset: r, chains: map[string]*chain{}}
		c.base()
		for _, svc := range s.Services {
			c.service(svc)
		}
		c.ports()
		if s.Unlisted == firewall.UnlistedDeny {
			c.unlisted()
		}
		hookRule := args("-m", "comment", "--comment", mark, "-j", baseChain)
		r.tables[tableKey{h.variant, f, mangle}] = &table{chains: c.chains, hooks: map[string][]hook{"PREROUTING": {{0, hookRule}}}}
		if s.Refuse == firewall.RefuseReject {
			c.answers(h.security[f])
		}
	}
	return r
}

// compiler makes one family's chains.
type compiler struct {
	state   firewall.State
	variant variant
	family  firewall.Family
	slots   slots
	ruleset *ruleset
	chains  map[string]*chain // of table mangle
}

func (c *compiler) chain(name, service string, rules ...rule) {
	c.chains[name] = &chain{name: name, service: service, rules: rules}
}

func (c *compiler) base() {
	rules := []rule{
		args("-i", "lo", "-m", "comment", "--comment", mark, "-j", "RETURN"),
		args("-m", "conntrack", "--ctdir", "REPLY", "-j", "RETURN"),
	}
	if c.state.Established == firewall.EstablishedKeep {
		rules = append(rules, args("-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "RETURN"))
	}
	// IPv6 has no broadcast, and tells multicast from the others by the address, not by the route, so the kernel
	// combines the types with "and" (match_type6 in net/netfilter/xt_addrtype.c).
	own := []string{"LOCAL,BROADCAST,ANYCAST,MULTICAST"}
	if c.family == firewall.IPv6 {
		own = []string{"LOCAL,ANYCAST", "MULTICAST"}
	}
	for _, types := range own {
		rules = append(rules, args("-m", "addrtype", "--dst-type", types, "-g", portsChain))
	}
	c.chain(baseChain, "", rules...)
}

// inlineSources is up to how many prefixes of a family become rules of their own; more become an ipset. A
// handful of rules costs a packet no more than a set look-up, and a small policy needs no ipset program.
const inlineSources = 16

func (c *compiler) service(svc firewall.Service) {
	to := []string{"-g", allowChain(svc.Name)}
	var sources []rule
	lookUp := func(k setKind, elements elements) {
		name := setName(svc.Name, k, c.family, c.slots[slot{svc.Name, c.family}])
		c.ruleset.sets[name] = &set{name: name, service: svc.Name, family: c.family, kind: k, elements: elements}
		sources = append(sources, args(append([]string{"-m", "set", "--match-set", name, "src"}, to...)...))
	}
	if fitsRules(svc.Sources, c.family) {
		for p := range svc.Sources.Family(c.family) {
			sources = append(sources, args(append([]string{"-s", p.String()}, to...)...))
		}
	} else {
		lookUp(layout(svc.Sources, c.family))
	}
	if until, any := expiring(svc, c.family, c.ruleset.readAt); any {
		lookUp(kindUntil, until)
	}
	refuse := args("-g", refuseChain(svc.Name))
	c.chain(sourceChain(svc.Name), svc.Name, append(sources, refuse)...)
	c.allow(svc)
	c.refuse(refuseChain(svc.Name), svc.Name, svc.Name, svc.Log != firewall.LogNone)
}

// fitsRules decides how a family's lasting sources are held: as rules, or as the elements of one set.
func fitsRules(sources firewall.Prefixes, f firewall.Family) bool {
	n := 0
	for range sources.Family(f) {
		if n++; n > inlineSources {
			return false
		}
	}
	return true
}

// layout is the set of a family's lasting sources.
func layout(sources firewall.Prefixes, f firewall.Family) (setKind, elements) {
	n, kind := 0, kindHosts
	for p := range sources.Family(f) {
		n++
		if !p.IsSingleIP() {
			kind = kindNets
		}
	}
	return kind, lasting{sources, f, n}
}

// longestTimeout is the longest time that an ipset element can have left: IPSET_MAX_TIMEOUT, about 24.8 days (include/linux/netfilter/ipset/ip_set_timeout.h).
// A source whose end is further away gets this much, and is renewed by every later apply once half of it is gone: without one it is
// closed early rather than never.
const longestTimeout = 2147483 * time.Second

// expiring lists a family's sources that end by themselves and have not yet; any says whether it has such at all.
func expiring(svc firewall.Service, f firewall.Family, now time.Time) (out *list, any bool) {
	out = &list{}
	for _, e := range svc.Expiring {
		if e.Prefix.Addr().Is4() != (f == firewall.IPv4) {
			continue
		}
		any = true
		if !e.Until.After(now) {
			continue
		}
		if e.Prefix.Bits() > 0 {
			out.add(element{e.Prefix, e.Until})
			continue
		}
		// hash:net has no /0: two halves do as well.
		for _, half := range halves[f] {
			out.add(element{half, e.Until})
		}
	}
	return out, any
}

var halves = map[firewall.Family][]firewall.Prefix{
	firewall.IPv4: {netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")},
	firewall.IPv6: {netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")},
}

// allow is the chain of an accepted source that may still have to pass a rate, or be logged. Its last
// rule counts.
func (c *compiler) allow(svc firewall.Service) {
	first := []string{"-m", "conntrack", "!", "--ctstatus", "CONFIRMED"} // the packet that starts a connection, and no other
	var rules []rule
	if r := svc.Rate; r != nil {
		// Rules that name the same table share it, and keep the rate it was made with: so the name says the rate.
		name := fmt.Sprintf("pg-%s-%d-%d-%d", id(svc.Name), r.Count, int64(r.Per.Seconds()), r.Burst)
		rules = append(rules, args(append(append(first, rateWords(name, *r, true)...), "-g", refuseChain(svc.Name))...))
	}
	if svc.Log == firewall.LogAll {
		rules = append(rules, args(append(first, report(firewall.LogPrefixAllowed, svc.Name)...)...))
	}
	c.chain(allowChain(svc.Name), svc.Name, append(rules, args("-j", "RETURN"))...)
}

func report(kind, label string) []string {
	return []string{"-j", "NFLOG", "--nflog-prefix", firewall.ShortLogPrefix(kind, label), "--nflog-group", strconv.Itoa(firewall.NFLOGGroup), "--nflog-size", strconv.Itoa(firewall.NFLOGSize)}
}

// refuse is the end of every refused packet: log, then drop, or mark for REJECT and leave the table. Its
// last rule counts.
func (c *compiler) refuse(name, service, label string, log bool) {
	var rules []rule
	if log {
		rules = append(rules, args(append(rateWords("pg-denied", firewall.DeniedLogRate, false), report(firewall.LogPrefixDenied, label)...)...))
	}
	if c.state.Refuse == firewall.RefuseReject {
		rules = append(rules, args("-j", "MARK", "--set-xmark", markBit), args("-j", "ACCEPT"))
	} else {
		rules = append(rules, args("-j", "DROP"))
	}
	c.chain(name, service, rules...)
}

// answers makes the tables that refused packets meet under refuse: reject.
func (c *compiler) answers(hasSecurity bool) {
	lead := func(k tableKey, rules ...rule) {
		jump := args("-m", "mark", "--mark", markBit, "-m", "comment", "--comment", mark, "-j", baseChain)
		c.ruleset.tables[k] = &table{chains: map[string]*chain{baseChain: {name: baseChain, rules: rules}},
			hooks: map[string][]hook{"INPUT": {{0, jump}}, "FORWARD": {{0, jump}}}}
	}
	unreachable := "icmp-port-unreachable"
	if c.family == firewall.IPv6 {
		unreachable = "icmp6-port-unreachable"
	}
	lead(tableKey{c.variant, c.family, filter},
		args("-p", "tcp", "-m", "comment", "--comment", mark, "-j", "REJECT", "--reject-with", "tcp-reset"),
		args("-j", "REJECT", "--reject-with", unreachable))
	if hasSecurity {
		lead(tableKey{c.variant, c.family, security}, args("-m", "comment", "--comment", mark, "-j", "DROP"))
	}
}

// unlisted is the chain of packets for ports that no service lists, in deny mode.
func (c *compiler) unlisted() {
	var rules []rule
	for _, m := range c.state.Essentials.Messages() {
		if m.Family == c.family {
			rules = append(rules, args(append(c.icmp(m), "-j", "RETURN")...))
		}
	}
	if c.state.Essentials.Has(firewall.EssentialMulticastMembership) && c.family == firewall.IPv4 {
		rules = append(rules, args("-p", number(firewall.IGMP), "-j", "RETURN"))
	}
	if c.state.Essentials.Has(firewall.EssentialDHCP) {
		rules = append(rules, c.dhcp())
	}
	// Second connections of protocols that a conntrack helper follows (FTP, SIP): part of what the
	// host started. ICMP has been dealt with by name above.
	for _, p := range []string{"tcp", "udp"} {
		rules = append(rules, args("-p", p, "-m", "conntrack", "--ctstate", "RELATED", "-j", "RETURN"))
	}
	c.chain(unlistedChain, "", append(rules, args("-g", unlistedRefuse))...)
	c.refuse(unlistedRefuse, "", firewall.LogLabelUnlisted, true)
}

// entry is the chain that a piece's packets go to; it makes the chain if conditions need one.
func (c *compiler) entry(p firewall.PortPiece) string {
	first := p.Services[0]
	if len(p.Services) == 1 {
		if len(first.Interfaces) == 0 && first.Addresses.Len() == 0 {
			return sourceChain(first.Name)
		}
		name := whereChain(first.Name)
		c.chain(name, first.Name, append(c.conditions(first), args("-g", refuseChain(first.Name)))...)
		return name
	}
	name := sharedChain(p.Ports)
	var rules []rule
	for _, svc := range p.Services {
		rules = append(rules, c.conditions(svc)...)
	}
	// What fits nobody's conditions is refused in the name of the first.
	c.chain(name, first.Name, append(rules, args("-g", refuseChain(first.Name)))...)
	return name
}

// conditions are the rules that let a packet in to the service's sources if its interface and address
// are the service's.
func (c *compiler) conditions(svc firewall.Service) []rule {
	interfaces := [][]string{nil}
	if len(svc.Interfaces) > 0 {
		interfaces = nil
		for _, name := range svc.Interfaces {
			interfaces = append(interfaces, []string{"-i", interfaceWord(name)})
		}
	}
	addresses := [][]string{nil}
	if svc.Addresses.Len() > 0 {
		addresses = nil
		for p := range svc.Addresses.Family(c.family) {
			addresses = append(addresses, []string{"-d", p.String()})
		}
	}
	var rules []rule
	for _, i := range interfaces {
		for _, d := range addresses {
			words := append(append(append([]string{}, i...), d...), "-g", sourceChain(svc.Name))
			rules = append(rules, args(words...))
		}
	}
	return rules
}

// longestInterface is IFNAMSIZ − 1 (include/uapi/linux/if.h).
const longestInterface = 15

// interfaceWord writes a pattern as iptables does: "eth*" is "eth+". Where the prefix is as long as a name can be
// there is nothing left for the "*" to match.
func interfaceWord(pattern string) string {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if wild && len(prefix) < longestInterface {
		return prefix + "+"
	}
	return prefix
}
