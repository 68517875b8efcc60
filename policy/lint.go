package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/iana"
)

// Lint warns about what a policy says and hardly means: services that let nobody in, entries and
// networks without effect, ports that were assumed, and doors that stand wide open. c is the policy
// compiled. The warnings of Compile are not among them.
func (p *Policy) Lint(c *Compiled, now time.Time) []Problem {
	l := linter{policy: p, compiled: c, now: now, inPolicy: map[string]bool{},
		everyone: map[address.Identity]bool{}}
	enforced := map[string]firewall.Service{}
	for _, s := range c.State.Services {
		enforced[s.Name] = s
	}
	for _, s := range p.services {
		l.port(s)
		svc := enforced[s.enforced.Name]
		allowed := svc.Sources
		if len(svc.Expiring) > 0 {
			allowed = svc.AllowedAt(now)
		}
		l.nobody(s, allowed)
		l.adminPorts(s, allowed)
		l.entries("allow", s.allow)
		l.entries("except", s.except)
	}
	l.networks()
	return l.report.list.sorted(l.report.dropped)
}

type linter struct {
	policy   *Policy
	compiled *Compiled
	now      time.Time
	report   reporter
	inPolicy map[string]bool // see writtenOut
	// everyone caches isEveryone, since many services may share a long list.
	everyone map[address.Identity]bool
}

func (l *linter) port(s service) {
	if !s.portAssumed {
		return
	}
	name := s.enforced.Name
	ports, udp, known := iana.Known(strings.ToLower(name))
	if !known || ports == fmt.Sprint(defaultPort) {
		l.report.warn(RulePortAssumed, s.nameAt,
			"service %q leaves port out, and %d is assumed: write port: %d if that is meant",
			name, defaultPort, defaultPort)
		return
	}
	also := ""
	if udp {
		also = ", and protocol: udp"
	}
	l.report.warn(RuleOtherPortAssumed, s.nameAt,
		"service %q leaves port out, so it is about port %d and NOT about %s: write port: %s%s",
		name, defaultPort, ports, quotedRange(ports), also)
}

// nobody warns about a service that lets nobody in.
func (l *linter) nobody(s service, allowed address.Set) {
	name := s.enforced.Name
	switch {
	case !allowed.IsZero():
	case len(s.allow) == 0 && len(s.except) > 0:
		l.report.warn(RuleExceptWithoutAllow, s.exceptAt,
			"service %q has except and an empty allow: except only takes away from allow, so "+
				"nobody gets in", name)
	case len(s.allow) == 0:
		l.report.warn(RuleNobodyAllowed, s.allowAt,
			"service %q has an empty allow: nobody gets in", name)
	default:
		l.report.warn(RuleNobodyAllowed, s.allowAt,
			"service %q lets nobody in: what its allow has is expired, empty or in except", name)
	}
}

// innerInterfaces begin the names of interfaces that lead to a VPN, to containers or to virtual
// machines, and so not to everyone.
var innerInterfaces = []string{
	"wg", "tun", "tap", "tailscale", "zt", "docker", "br-", "cni", "veth", "virbr", "lxc", "lxd",
}

func isInner(iface string) bool {
	return slices.ContainsFunc(innerInterfaces, func(prefix string) bool {
		return strings.HasPrefix(iface, prefix)
	})
}

// adminPorts warns about ports for administrators that are open to everyone.
func (l *linter) adminPorts(s service, allowed address.Set) {
	outer := slices.DeleteFunc(slices.Clone(s.enforced.Interfaces), isInner)
	if len(s.enforced.Interfaces) > 0 && len(outer) == 0 {
		return
	}
	found := map[Location][]string{}
	var order []Location
	for i, r := range s.enforced.Ports {
		at := s.portsAt[i]
		for _, a := range adminPortsIn(r) {
			ports := firewall.PortRange{Protocol: r.Protocol, First: max(a.first, r.First),
				Last: min(a.last, r.Last)}
			if found[at] == nil {
				order = append(order, at)
			}
			found[at] = append(found[at], fmt.Sprintf("%s (%s)", ports, a.name))
		}
	}
	if len(order) == 0 || !l.isEveryone(allowed) {
		return
	}
	for _, at := range order {
		list := found[at]
		if more := len(list) - maxNamedAdminPorts; more > 0 {
			list = append(list[:maxNamedAdminPorts], fmt.Sprintf("%d more", more))
		}
		l.report.warn(RuleAdminPortOpen, at,
			"service %q opens %s to everyone: name in allow who needs it",
			s.enforced.Name, strings.Join(list, ", "))
	}
}

func (l *linter) isEveryone(s address.Set) bool {
	id := s.Identity()
	known, ok := l.everyone[id]
	if !ok {
		known = isEveryone(s)
		l.everyone[id] = known
	}
	return known
}

// maxNamedAdminPorts bounds the ports that one warning names.
const maxNamedAdminPorts = 4

// networks warns about networks that no service uses, and about entries of networks.
func (l *linter) networks() {
	used := map[string]bool{}
	for _, n := range l.policy.used() {
		used[n.name] = true
	}
	for _, name := range sortedNames(l.policy.networks) {
		n := l.policy.networks[name]
		l.entries(fmt.Sprintf("network %q", name), n.entries)
		if used[name] {
			continue
		}
		l.report.warn(RuleUnusedNetwork, n.at, "no service uses the network %q", name)
		if n.file == "" {
			continue
		}
		if _, err := os.Stat(n.file); errors.Is(err, fs.ErrNotExist) {
			l.report.warn(RuleMissingFile, n.sourceAt, "network %q: %s: there is no such file",
				name, n.file)
		}
	}
}

// entries warns about entries of a list that have no effect beside others.
func (l *linter) entries(list string, entries []source) {
	live := slices.DeleteFunc(slices.Clone(entries), func(e source) bool {
		return !e.expires.IsZero() && !e.expires.After(l.now)
	})
	if len(live) < 2 {
		return
	}
	for _, e := range live {
		if e.network == "any" && e.expires.IsZero() {
			l.report.warn(RuleAnyBesideOthers, e.at,
				"any is everyone, so that the other entries of %s have no effect", list)
			return
		}
	}
	prefixes := l.longestLasting(live)
	for i, e := range live {
		if e.network == "" {
			l.redundantPrefix(list, live, i, prefixes)
		} else {
			l.redundantName(list, live, i)
		}
	}
}

// lasting has the entry of each prefix that lasts longest, and the lengths that occur, ascending.
type lasting struct {
	entry   map[netip.Prefix]int
	lengths []int
}

func (l *linter) longestLasting(live []source) lasting {
	out := lasting{entry: map[netip.Prefix]int{}}
	for i, e := range live {
		if e.network != "" {
			continue
		}
		if first, twice := out.entry[e.prefix]; !twice || !live[first].outlasts(e) {
			out.entry[e.prefix] = i
		}
		if !slices.Contains(out.lengths, e.prefix.Bits()) {
			out.lengths = append(out.lengths, e.prefix.Bits())
		}
	}
	slices.Sort(out.lengths)
	return out
}

// outlasts reports whether an entry holds at least as long as another one.
func (s source) outlasts(other source) bool {
	return s.expires.IsZero() ||
		!other.expires.IsZero() && !s.expires.Before(other.expires)
}

// redundantPrefix warns about a prefix that is in another entry, which lasts as long.
func (l *linter) redundantPrefix(list string, live []source, i int, known lasting) {
	e := live[i]
	for _, bits := range known.lengths {
		if bits > e.prefix.Bits() {
			break
		}
		// Bits of the other family may be more than this address has.
		wider, err := e.prefix.Addr().Prefix(bits)
		if err != nil {
			break
		}
		if other, ok := known.entry[wider]; ok && other != i && live[other].outlasts(e) {
			l.redundant(list, e, live[other])
			return
		}
	}
	for _, other := range live[:min(len(live), maxComparedNames)] {
		if other.network != "" && other.outlasts(e) {
			if content, ok := l.content(other.network); ok && content.Covers(e.prefix) {
				l.redundant(list, e, other)
				return
			}
		}
	}
}

// maxComparedNames bounds the entries with which each entry of a list is compared, so that a long
// list doesn't take quadratic time.
const maxComparedNames = 100

// redundantName warns about the name of a network that is in another entry, which lasts as long. Of
// two entries that hold the same the second one is redundant.
func (l *linter) redundantName(list string, live []source, i int) {
	e := live[i]
	content, known := l.content(e.network)
	for j, other := range live[:min(len(live), maxComparedNames)] {
		if j == i || !other.outlasts(e) {
			continue
		}
		if e.network == other.network {
			if j < i || !e.outlasts(other) {
				l.redundant(list, e, other)
				return
			}
			continue
		}
		in, otherKnown := address.Set{}, true
		if other.network != "" {
			in, otherKnown = l.content(other.network)
		} else {
			in, _ = address.New(other.prefix) // parsePrefix has refused what New refuses
		}
		if !known || !otherKnown || content.IsZero() || !content.Minus(in).IsZero() {
			continue
		}
		// A prefix that equals the network is reported by itself.
		second := j < i && other.network != ""
		if second || !e.outlasts(other) || !content.Equal(in) {
			l.redundant(list, e, other)
			return
		}
	}
}

func (l *linter) redundant(list string, e, other source) {
	if e.name() == other.name() {
		l.report.warn(RuleRedundantEntry, e.at, "%s is in %s twice, first at %s",
			e.name(), list, other.at)
		return
	}
	l.report.warn(RuleRedundantEntry, e.at, "%s is contained in %s (%s), which is in %s too",
		e.name(), other.name(), other.at, list)
}

// name is an entry as people write it.
func (s source) name() string {
	switch {
	case s.network != "":
		return s.network
	case s.prefix.IsSingleIP():
		return s.prefix.Addr().String()
	}
	return s.prefix.String()
}

// content returns what a network holds, if that stands in the policy and a service uses it. What a
// file, a URL or a name holds may change tomorrow, so that nothing is redundant beside it. Networks
// that no service uses aren't put together for the sake of such a warning: they have one already.
func (l *linter) content(name string) (address.Set, bool) {
	if !l.writtenOut(name) {
		return address.Set{}, false
	}
	set, ok := l.compiled.Networks[name]
	return set, ok
}

// writtenOut reports whether a network is built in, or it and all networks that it names are lists
// in the policy.
func (l *linter) writtenOut(name string) bool {
	if _, ok := builtIn[name]; ok {
		return true
	}
	if known, ok := l.inPolicy[name]; ok {
		return known
	}
	n := l.policy.networks[name]
	out := n != nil && !n.external()
	for i := 0; out && i < len(n.entries); i++ {
		below := n.entries[i].network
		out = below == "" || l.writtenOut(below) // Read has refused cycles
	}
	l.inPolicy[name] = out
	return out
}
