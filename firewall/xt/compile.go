package xt

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// slots says under which of two names the sets of a service and family stand. A set whose rules
// change together with its elements is loaded under the other name before the rules switch to it.
type slots map[slot]bool

type slot struct {
	service string
	family  address.Family
}

// host is what compile must know of the host: what there is to enforce with.
type host struct {
	variant  variant          // the one to write to
	has      map[variant]bool // variants with programs for all families
	ipset    bool
	families []address.Family
	// security: the family's kernel has table security, to catch what gets past REJECT.
	security map[address.Family]bool
	// vrfs are the names of the VRFs, in order.
	vrfs []string
}

// compile is the ruleset that enforces a State at a moment: a pure function. Sources that have
// expired by then are left out; their set and rule stay, so that an end that comes by itself is no
// drift.
func compile(s firewall.State, now time.Time, use slots, h host) *ruleset {
	r := newRuleset()
	r.readAt = now
	for _, svc := range s.Services {
		r.names[id(svc.Name)] = svc.Name
		for _, l := range svc.Leases {
			r.names[id(leaseHolder(svc.Name, l.Ports[0]))] = svc.Name
		}
	}
	pieces := firewall.PortPieces(s.Services)
	for _, f := range h.families {
		c := compiler{state: s, pieces: pieces, family: f, slots: use, ruleset: r,
			sources: map[string][]rule{}}
		for _, svc := range s.Services {
			c.sources[sourceChain(svc.Name)] = c.sourceRules(svc)
			for _, l := range svc.Leases {
				c.sources[leaseChain(svc.Name, l)] = c.leaseRules(svc.Name, l)
			}
		}
		table := func(name string) *table { return r.table(tableKey{h.variant, f, name}) }
		c.remember(table(mangle), h.vrfs)
		c.questions(table(mangle))
		if s.Refuse == firewall.RefuseDrop {
			c.decide(table(mangle), drops)
			continue
		}
		c.decide(table(filter), rejects)
		if h.security[f] {
			c.decide(table(security), dropsLate)
		}
	}
	return r
}

// manner is what the tree of a table does to the packets that it refuses.
type manner int

const (
	drops   manner = iota // silently
	rejects               // with an answer, which only table filter can give
	// dropsLate drops what got past rejects, because others let it in before us or have flushed
	// table filter. It neither rates, logs nor counts: a packet meets each of those once.
	dropsLate
)

// compiler makes one family's chains.
type compiler struct {
	state   firewall.State
	pieces  []firewall.PortPiece // the ranges of ports, and the services that claim them
	family  address.Family
	slots   slots
	ruleset *ruleset
	sources map[string][]rule // by chain: what lets in the sources of a service, or of a lease

	// Of the table being made:
	chains map[string]*chain
	manner manner
	// vrfs are the VRFs that its rules can tell: none but in remember.
	// original: a chain asks for the destination that the connection's client dialled, and not for
	// the packet's own.
	vrfs     []string
	original bool
}

// how is the answer that the table gives to what it refuses.
func (c *compiler) how() firewall.Refuse {
	if c.manner == rejects {
		return firewall.RefuseReject
	}
	return firewall.RefuseDrop
}

func (c *compiler) chain(name, service string, rules ...rule) {
	c.chains[name] = &chain{name: name, service: service, rules: rules}
}

// set makes a set, and returns its name; service is "" for one that serves all of them.
func (c *compiler) set(service string, k setKind, elements elements) (name string) {
	return c.setOf(service, service, k, elements)
}

// setOf is set for a service or one of its leases. The sets of a lease stand in the same slot as
// those of the service, since a source may move between them.
func (c *compiler) setOf(holder, service string, k setKind, elements elements) (name string) {
	name = setName(holder, k, c.family, c.slots[slot{service, c.family}])
	c.ruleset.sets[name] = &set{name, service, c.family, k, elements, 0}
	return name
}

// decide makes a table's chains, and the hooks that lead to them.
func (c *compiler) decide(t *table, m manner) {
	c.chains, c.manner, c.vrfs = t.chains, m, nil
	for _, svc := range c.state.Services {
		c.service(svc)
	}
	running := c.render(pipeline.Established(c.state)...)
	shared := slices.Concat(running, c.beginning(), c.translated())
	c.input(t, shared)
	c.forward(t, shared)
	if c.denies() {
		c.unlisted()
	}
}

// maxInlineSources is the most prefixes of a family that become rules of their own; more become an
// ipset. A handful of rules costs a packet no more than a set look-up, and a small policy needs no
// ipset program.
const maxInlineSources = 16

// sourceRules are a service's sources, as rules or as sets that a rule looks up.
func (c *compiler) sourceRules(svc firewall.Service) []rule {
	var rules []rule
	if fitsRules(svc.Sources, c.family) {
		for p := range svc.Sources.Family(c.family) {
			rules = append(rules, args("-s", p.String(), "-g", allowChain(svc.Name)))
		}
	} else {
		k, elements := layout(svc.Sources, c.family)
		rules = append(rules, letInFrom(c.set(svc.Name, k, elements), svc.Name))
	}
	if until, any := expiring(svc, c.family, c.ruleset.readAt); any {
		rules = append(rules, letInFrom(c.set(svc.Name, kindUntil, until), svc.Name))
	}
	return rules
}

// leaseRules are a lease's sources, as a set that a rule looks up.
func (c *compiler) leaseRules(service string, l firewall.Lease) []rule {
	until, any := expiring(l, c.family, c.ruleset.readAt)
	if !any {
		return nil
	}
	name := c.setOf(leaseHolder(service, l.Ports[0]), service, kindUntil, until)
	return []rule{letInFrom(name, service)}
}

// letInFrom lets in what a set of a service's sources holds.
func letInFrom(set, service string) rule {
	return args("-m", "set", "--match-set", set, "src", "-g", allowChain(service))
}

func (c *compiler) service(svc firewall.Service) {
	sources := func(chain, others string) {
		rest := args("-g", others)
		c.chain(chain, svc.Name, append(slices.Clone(c.sources[chain]), rest)...)
	}
	sources(sourceChain(svc.Name), refuseChain(svc.Name))
	for _, l := range svc.Leases { // their ports lead here in place of the service's chain
		sources(leaseChain(svc.Name, l), sourceChain(svc.Name))
	}
	c.draw(pipeline.AllowChain(svc), svc.Name)
	c.draw(pipeline.Refusal(svc, c.how()), svc.Name)
}

// fitsRules decides how a family's lasting sources are held: as rules, or as the elements of one
// set.
func fitsRules(sources address.Set, f address.Family) bool {
	n := 0
	for range sources.Family(f) {
		if n++; n > maxInlineSources {
			return false
		}
	}
	return true
}

// layout is the set of a family's lasting sources.
func layout(sources address.Set, f address.Family) (setKind, elements) {
	n, kind := 0, kindHosts
	for p := range sources.Family(f) {
		n++
		if !p.IsSingleIP() {
			kind = kindNets
		}
	}
	return kind, lasting{sources, f, n}
}

// maxTimeout is the longest time that an ipset element can have left: IPSET_MAX_TIMEOUT, about
// 24.8 days (include/linux/netfilter/ipset/ip_set_timeout.h). A source whose end is further away
// gets this much, and is renewed by every later apply once half of it is gone: without one it is
// closed early rather than never.
const maxTimeout = 2147483 * time.Second

// expiring are the elements for those of a service's or a lease's sources of a family that end by
// themselves; any says whether it has such at all.
func expiring(of interface {
	ExpiringIn(address.Family, time.Time) ([]firewall.ExpiringSource, bool)
}, f address.Family, now time.Time) (out *list, any bool) {
	out = &list{}
	sources, any := of.ExpiringIn(f, now)
	for _, e := range sources {
		if e.Prefix.Bits() > 0 {
			out.add(element{prefix: e.Prefix, until: e.Until})
			continue
		}
		// hash:net has no /0: two halves do as well.
		for _, half := range halves[f] {
			out.add(element{prefix: half, until: e.Until})
		}
	}
	return out, any
}

var halves = map[address.Family][]netip.Prefix{
	address.IPv4: {netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1")},
	address.IPv6: {netip.MustParsePrefix("::/1"), netip.MustParsePrefix("8000::/1")},
}

// maxInterface is the longest name of an interface: IFNAMSIZ − 1 (include/uapi/linux/if.h).
const maxInterface = 15

// interfaceWord writes a pattern as iptables does: "eth*" is "eth+". Where the prefix is as long as
// a name can be there is nothing left for the "*" to match.
func interfaceWord(pattern string) string {
	prefix, wild := strings.CutSuffix(pattern, "*")
	if wild && len(prefix) < maxInterface {
		return prefix + "+"
	}
	return prefix
}
