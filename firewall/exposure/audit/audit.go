package audit

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
	"github.com/portgrave/portgrave/firewall/ipvs"
)

// Input is what an audit looks at.
type Input struct {
	Rules   *exposure.Ruleset
	Host    *exposure.Host
	Sockets sockets.Snapshot
	// IPVS are the services of IPVS on this host.
	IPVS []ipvs.Service
	// Enter reads the rules and the host of another namespace, by inode. If nil, packets aren't
	// followed into other namespaces.
	Enter func(inode uint64) (*exposure.Ruleset, *exposure.Host, error)
	// Policy is what is declared, with leases; nil if nothing is. In RunOffline, nil means that
	// nobody says what should be reachable.
	Policy *firewall.State
	// Written is the policy without leases, whose ends aren't findings; nil: as Policy.
	Written *firewall.State
	// Networks are the policy's, by name, so that sources are named.
	Networks map[string]address.Set
	// Accept are findings that are known and wanted.
	Accept []Accept
	// Wants is what the policy requires of services, by name.
	Wants map[string]Wants
	// Prober tests services; nil: none is tested.
	Prober Prober
	// Workers is how many questions are asked at a time; 0: one for each processor. With 1, the
	// caller's goroutine does everything.
	Workers int
	Now     time.Time
}

// Wants is what the policy requires of a service besides who may reach it.
type Wants struct {
	TLS    bool
	Health string // path of a health check
}

// Prober tests a service of this host. Its errors become findings.
type Prober interface {
	TLS(ctx context.Context, at netip.AddrPort) error
	Health(ctx context.Context, at netip.AddrPort, path string, tls bool) error
}

// expiringSoon is how long before its end an entry is reported.
const expiringSoon = 7 * 24 * time.Hour

// Run audits a host.
func Run(ctx context.Context, in Input) (Report, error) {
	return newAuditor(in, &shared{}).run(ctx)
}

// newAuditor makes the auditor of a host. Several may share sets, one after the other.
func newAuditor(in Input, sets *shared) *auditor {
	in.Host = in.hostWithSockets()
	a := &auditor{
		Input:     in,
		evaluator: exposure.NewEvaluator(in.Rules, in.Host),
		shared:    sets,
		report:    Report{Exposures: []Exposure{}, Findings: []Finding{}},
	}
	if in.Written == nil {
		a.Written = in.Policy
	}
	return a
}

func (a *auditor) run(ctx context.Context) (Report, error) {
	a.budget = budgetOf(a.evaluator)
	for _, err := range a.Sockets.Unread {
		a.report.Unread = append(a.report.Unread, err.Error())
	}
	for _, m := range a.Rules.Missing {
		a.report.Unread = append(a.report.Unread, fmt.Sprintf("%s: %s", m.What, m.Why))
	}
	a.report.Unread = append(a.report.Unread, a.Rules.Partly...)
	a.collectHost()
	answers := a.askAll(ctx)
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	for i, l := range a.listeners {
		a.listener(l, answers[i])
	}
	a.translations()
	a.ipvs()
	a.servicesWithoutListener()
	a.endings()
	a.probe(ctx)
	a.finish()
	return a.report, ctx.Err()
}

type auditor struct {
	Input
	evaluator *exposure.Evaluator
	// neighboursKnown: all evaluators assume that neighbours know each other.
	neighboursKnown bool
	untranslated    *exposure.Evaluator // the rules without translations; nil until needed
	budget          *exposure.Budget    // for all remaining questions
	shared          *shared
	index           *firewall.Index // of Policy; nil until needed
	// namespaces are the other namespaces that packets are forwarded to.
	namespaces *namespaces

	listeners  []sockets.Listener // of this namespace
	interfaces []exposure.Interface
	addresses  map[address.Family][]netip.Addr // of the host, without loopback
	present    map[portKey]bool                // ports that a program or IPVS takes packets for
	// ports that a program listens on for this host only
	loopback   map[portKey]string
	unroutable sources // martians, and the host's own
	report     Report
	assumed    map[string]bool
	// compares: rows are compared with those of another audit, so all ports are listed.
	compares bool
	// only tells which ports are asked about; nil: all.
	only func(firewall.PortRange) bool
}

// newEvaluator makes an evaluator that assumes of neighbours what the auditor's others assume.
func (a *auditor) newEvaluator(rs *exposure.Ruleset, h *exposure.Host) *exposure.Evaluator {
	e := exposure.NewEvaluator(rs, h)
	if a.neighboursKnown {
		e = e.NeighboursKnown()
	}
	return e
}

type portKey struct {
	protocol firewall.Protocol
	port     uint16
}

// maxHeld is the most addresses held for IPVS alone that count as addresses of the host.
const maxHeld = 16

// collectHost collects the host's interfaces, addresses and listeners.
func (a *auditor) collectHost() {
	a.listeners = slices.DeleteFunc(
		slices.Clone(a.Sockets.Current()),
		func(l sockets.Listener) bool { return a.passesOver(l.Protocol, l.Port, l.Port) },
	)
	a.namespaces = newNamespaces(a.Input, a.newEvaluator)
	a.addresses = map[address.Family][]netip.Addr{}
	a.present, a.assumed = map[portKey]bool{}, map[string]bool{}
	a.loopback = map[portKey]string{}
	for _, i := range a.Host.Interfaces {
		if i.Loopback {
			continue
		}
		virtual := slices.Contains(firewall.VirtualInterfaces, i.Name)
		if n := len(i.Addresses); virtual && n > maxHeld {
			a.report.Unread = append(
				a.report.Unread,
				fmt.Sprintf("%d addresses of %s: who reaches programs of the "+
					"host at them was checked for %d", n, i.Name, maxHeld),
			)
			i.Addresses = i.Addresses[:maxHeld]
		}
		for _, p := range i.Addresses {
			f := address.IPv4
			if p.Addr().Is6() {
				f = address.IPv6
			}
			a.addresses[f] = append(a.addresses[f], p.Addr().WithZone(""))
		}
		if virtual {
			continue // no packet arrives there
		}
		if master := a.Host.ByIndex(i.Master); i.Up &&
			// a port of a bridge hands its packets to the bridge
			(master == nil || master.Kind == "vrf") {
			a.interfaces = append(a.interfaces, i)
		}
	}
	var own []netip.Prefix
	for _, address := range a.hostAddresses() {
		own = append(own, netip.PrefixFrom(address, address.BitLen()))
	}
	for _, r := range a.Host.Routes {
		if r.Type == exposure.RouteBroadcast || r.Type == exposure.RouteAnycast {
			own = append(own, r.Dest)
		}
	}
	a.unroutable = martians()
	if p, err := address.New(own...); err == nil {
		a.unroutable = a.unroutable.union(sourcesOf(p, address.Families...))
	}
	slices.SortFunc(
		a.interfaces,
		func(x, y exposure.Interface) int { return cmp.Compare(x.Index, y.Index) },
	)
}

// passesOver reports whether some ports aren't asked about.
func (a *auditor) passesOver(p firewall.Protocol, first, last uint16) bool {
	return a.only != nil && !a.only(firewall.PortRange{Protocol: p, First: first, Last: last})
}

// families are the IP versions of the packets that a listener takes on this host.
func (a *auditor) families(l sockets.Listener) (out []address.Family) {
	for _, f := range address.Families {
		takes := l.Address.Is4() == (f == address.IPv4)
		if l.Address.Is6() && l.Address.IsUnspecified() && !l.V6Only {
			takes = true
		}
		if takes && (len(a.addresses[f]) > 0 || !l.Address.IsUnspecified()) {
			out = append(out, f)
		}
	}
	return out
}

// askAbout asks about one listener.
func (a *auditor) askAbout(l sockets.Listener) [][]part {
	answers := make([][]part, len(a.interfaces))
	for i, on := range a.interfaces {
		if l.Interface != "" && l.Interface != on.Name {
			continue
		}
		var all []part
		for _, f := range a.families(l) {
			all = append(all, a.reachSocket(l, on.Name, f)...)
		}
		answers[i] = a.joinParts(all, on.Name)
	}
	return answers
}

// listener judges a socket on each interface.
func (a *auditor) listener(l sockets.Listener, answers [][]part) {
	k := portKey{l.Protocol, l.Port}
	if !l.Loopback() {
		a.present[k] = true
	}
	for n, i := range a.interfaces {
		if l.Interface != "" && l.Interface != i.Name {
			continue
		}
		for _, p := range apiece(answers[n]) {
			families := p.families
			x := exposureOf(l, i.Name)
			if l.Loopback() &&
				// not meant for outside, so a rule doesn't block what the policy opens
				p.possible.empty() {
				a.loopback[k] = x.Process
				families = nil
			}
			bound := a.boundTo(l)
			if p.addresses != nil {
				bound = p.addresses
				x.at(p.addresses)
			}
			a.judge(x, p.reach, families, bound, nil)
		}
	}
	a.boundWider(l)
}

// boundTo are the addresses at which a listener can be dialled; none: any.
func (a *auditor) boundTo(l sockets.Listener) []netip.Addr {
	if !l.Address.IsUnspecified() {
		return []netip.Addr{l.Address}
	}
	var all []netip.Addr
	for _, f := range a.families(l) {
		all = append(all, a.addresses[f]...)
	}
	return all
}

// reachSocket asks which sources get to a socket by an interface. For a wildcard socket the
// destination is left open, unless rules distinguish destinations: then each of the host's
// addresses is asked about.
func (a *auditor) reachSocket(l sockets.Listener, iface string, f address.Family) []part {
	q := exposure.Question{Family: f, Protocol: l.Protocol, Interface: iface, Port: l.Port}
	mine := func(p exposure.Piece) bool {
		if p.Outcome != exposure.Delivered {
			return false
		}
		if p.Target == (netip.AddrPort{}) {
			return true // something unknown may have changed it
		}
		if !p.Target.Addr().IsValid() {
			return p.Target.Port() == l.Port
		}
		return l.Accepts(p.Target.Addr(), p.Target.Port(), iface)
	}
	whole := func(r reach) []part { return []part{{reach: r, families: []address.Family{f}}} }
	if !l.Address.IsUnspecified() {
		q.Destination = l.Address
		return whole(a.askHere(q, mine))
	}
	open := a.ask(a.evaluator, q, mine)
	served := slices.ContainsFunc(a.IPVS, func(s ipvs.Service) bool {
		return s.Protocol == l.Protocol && s.At.Port() == l.Port
	})
	if open.undecided().empty() && !served {
		return whole(open)
	}
	var here []netip.Addr
	var elsewhere sources
	for _, at := range a.dialledBy(iface, f) {
		if !a.servedByIPVS(l.Protocol, at, l.Port) {
			here = append(here, at)
			continue
		}
		q.Destination = at // where IPVS takes the packets, the row is its service's
		elsewhere = elsewhere.union(a.askHere(q, mine).elsewhere)
	}
	parts := a.partsOf(q, here, func(q exposure.Question) reach { return a.askHere(q, mine) })
	for i := range parts {
		parts[i].elsewhere = parts[i].elsewhere.union(elsewhere)
	}
	return parts
}

// askHere asks which sources get to a socket of this host. Packets that IPVS takes go elsewhere.
func (a *auditor) askHere(q exposure.Question, picks func(exposure.Piece) bool) reach {
	r := a.ask(a.evaluator, q, picks)
	if a.servedByIPVS(q.Protocol, q.Destination, q.Port) {
		r.elsewhere = r.elsewhere.union(r.possible)
		r.certain, r.possible = sources{}, sources{}
	}
	return r
}

func exposureOf(l sockets.Listener, iface string) Exposure {
	x := Exposure{
		Protocol:  l.Protocol.String(),
		Port:      l.Port,
		Address:   l.Address.String(),
		Interface: iface,
		bound:     l.Address.String(),
	}
	if len(l.Owners) > 0 {
		o := l.Owners[0]
		x.Process, x.PID, x.Unit, x.Container = o.Name, o.PID, o.Unit, o.Container.String()
	}
	return x
}

func (a *auditor) hostAddresses() []netip.Addr {
	return slices.Concat(a.addresses[address.IPv4], a.addresses[address.IPv6])
}

// finish orders rows and findings.
func (a *auditor) finish() {
	slices.SortStableFunc(a.report.Exposures, func(x, y Exposure) int {
		return cmp.Or(
			cmp.Compare(x.Port, y.Port),
			cmp.Compare(x.Protocol, y.Protocol),
			cmp.Compare(x.Target, y.Target),
			cmp.Compare(x.Address, y.Address),
		)
	})
	a.settle()
	a.nameSources()
	slices.SortStableFunc(a.report.Findings, func(x, y Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Severities(), x.Severity),
				slices.Index(Severities(), y.Severity)),
			cmp.Compare(rank(x.Kind), rank(y.Kind)),
			cmp.Compare(x.Port, y.Port),
			cmp.Compare(x.Protocol, y.Protocol),
		)
	})
	for s := range a.assumed {
		a.report.Assumed = append(a.report.Assumed, s)
	}
	slices.Sort(a.report.Assumed)
}
