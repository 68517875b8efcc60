package audit

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// judge compares which sources get to a port with the policy, and adds the row. believed is for
// ports whose packets go elsewhere: the sources that would get in if they didn't. It is nil for
// other ports.
func (a *auditor) judge(
	x Exposure,
	r reach,
	families []address.Family,
	addresses []netip.Addr,
	believed *reach,
) {
	p, _ := firewall.ParseProtocol(x.Protocol)
	d := a.declared(p, x.Port, x.Interface, addresses)
	if d.service == "" && a.isVirtual(p, x.Port, addresses) {
		d.governed = false // unlisted ports are left alone there
	}
	// Many rows have the same set, and prefixes are costly to make.
	possible := a.shared.simplest(r.possible, r.nowhere)
	written := func(s sources) address.Set {
		if s.equal(r.possible) {
			return possible
		}
		return a.shared.simplest(s, r.nowhere)
	}
	x.Service, x.Reachable, x.DecidedBy, x.Finding = d.service, Bounds{
		written(r.certain),
		possible,
	}, r.decidedBy(), OK
	x.Rate = a.rateOf(d.service)
	for _, s := range r.assumed {
		a.assumed[s] = true
	}
	unheard := ""
	if !r.unanswered.empty() {
		switch {
		case len(r.lost) > 0:
			unheard = "; packets come in, and answers to some of them are lost: " + someOf(r.lost)
		case len(r.unknown) > 0:
			unheard = "; packets come in, and answers to some of them may be lost: " +
				someOf(r.unknown)
		default:
			unheard = "; packets come in, and answers to some of them may be lost"
		}
	}
	allowed := sourcesOf(d.allowed, families...)
	if d.governed {
		p := allowed.prefixes()
		x.Declared, x.Allowed = true, p
	}
	name := x.name()
	tooMany := r.possible.minus(allowed)
	reachable, sure := "is reachable", r.surely(tooMany)
	if sure.empty() {
		reachable = "may be reachable"
	}
	var past sources
	if believed != nil {
		past = tooMany.minus(believed.possible)
	}
	switch {
	case tooMany.empty(), a.report.Unjudged:
	case !past.empty():
		a.findSure(
			&x,
			!past.intersect(sure).empty(),
			Bypass,
			written(past),
			fmt.Sprintf(
				"%s is published to %s, past the rules of the host's own firewall, which refuses these sources",
				name,
				x.Target,
			),
		)
	case d.governed:
		a.findSure(
			&x,
			!sure.empty(),
			WiderThanPolicy,
			written(tooMany),
			fmt.Sprintf(
				"%s %s from sources that the policy does not allow%s", name, reachable, unheard,
			),
		)
	default:
		a.findSure(
			&x,
			IsEveryone(written(sure)),
			Undeclared,
			written(tooMany),
			fmt.Sprintf(
				"%s %s, and no service of the policy lists it%s", name, reachable, unheard,
			),
		)
	}
	// dockerd listens on the ports that it publishes, but packets from outside go to the container,
	// which has a row of its own. Rules that refuse the host's own addresses from outside don't
	// block the policy either, and neither does the absence of other interfaces' networks.
	missing := allowed.minus(r.possible).minus(a.unroutable).minus(r.elsewhere)
	if d.governed && !missing.empty() {
		missing = missing.minus(a.behindOthers(x.Interface))
	}
	if d.governed && !missing.empty() {
		by, owners := a.stoppedBy(r, missing)
		x.Stopped = &Stopped{Sources: missing.prefixes(), By: by, Owners: owners}
		a.find(
			&x,
			BlockedElsewhere,
			x.Stopped.Sources,
			fmt.Sprintf(
				"the policy opens %s to sources that something else stops: %s",
				name,
				someOf(by),
			),
		)
	}
	if unsure := r.undecided().minus(a.unroutable); !unsure.empty() && r.onlyRates() {
		a.find(
			&x,
			RateLimited,
			a.shared.simplest(unsure, r.nowhere),
			fmt.Sprintf("how often sources reach %s is limited by another program: %s", name,
				someOf(r.unknown)),
		)
	} else if !unsure.empty() {
		a.find(
			&x,
			Undecided,
			a.shared.simplest(unsure, r.nowhere),
			fmt.Sprintf(
				"who reaches %s depends on what can't be decided in advance: %s",
				name,
				someOf(r.unknown),
			),
		)
	}
	a.report.Exposures = append(a.report.Exposures, x)
}

// behindOthers are the networks of the host's other interfaces.
func (a *auditor) behindOthers(iface string) sources {
	var list []netip.Prefix
	if iface != "" && a.Host != nil {
		for _, i := range a.Host.Interfaces {
			if i.Name == iface {
				continue
			}
			for _, p := range i.Addresses {
				list = append(list, netip.PrefixFrom(p.Addr().WithZone(""), p.Bits()).Masked())
			}
		}
	}
	p, err := address.New(list...)
	if err != nil {
		return sources{}
	}
	return sourcesOf(p, address.Families...)
}

// name names a port for people: "tcp/9090 (prometheus) at 192.0.2.1". It omits the interface, as
// several often share a finding.
func (x *Exposure) name() string {
	s := fmt.Sprintf("%s/%d", x.Protocol, x.Port)
	if x.PortLast > 0 {
		s += fmt.Sprintf("-%d", x.PortLast)
	}
	if x.Process != "" {
		s += " (" + x.Process + ")"
	}
	if len(x.Addresses) > 0 {
		s += " at " + x.At()
	}
	return s
}

// rateOf is how often a service lets each source in; "" if it has no limit.
func (a *auditor) rateOf(service string) string {
	if service == "" || a.Policy == nil {
		return ""
	}
	i, found := slices.BinarySearchFunc(a.Policy.Services, service,
		func(s firewall.Service, name string) int { return strings.Compare(s.Name, name) })
	if !found || a.Policy.Services[i].Rate == nil {
		return ""
	}
	return a.Policy.Services[i].Rate.Each()
}

// find adds a finding about a row.
func (a *auditor) find(x *Exposure, k Kind, sources address.Set, detail string) {
	a.findSure(x, true, k, sources, detail)
}

// findSure is find; sure: what it says of sources holds for certain.
func (a *auditor) findSure(
	x *Exposure, sure bool, k Kind, sources address.Set, detail string,
) {
	severity := severityOf(k, sources, sure)
	a.report.Findings = append(
		a.report.Findings,
		Finding{
			Kind:      k,
			Severity:  severity,
			addresses: x.Addresses,
			Service:   x.Service,
			Protocol:  x.Protocol,
			Port:      x.Port,
			PortLast:  x.PortLast,
			Address:   x.Address,
			Interface: x.Interface,
			Process:   x.Process,
			Sources:   sources,
			Detail:    detail,
		},
	)
	x.found = append(x.found, rowFinding{kind: k, severity: severity})
}

// boundWider finds a socket bound to every address whose port the policy needs on fewer.
func (a *auditor) boundWider(l sockets.Listener) {
	if a.Policy == nil || !l.Address.IsUnspecified() {
		return
	}
	var needed []string
	listed := ""
	for _, svc := range a.Policy.Services {
		if !slices.ContainsFunc(
			svc.Ports,
			func(r firewall.PortRange) bool { return r.Contains(l.Protocol, l.Port) },
		) {
			continue
		}
		listed = svc.Name
		if svc.At(l.Protocol, l.Port).AllowedAt(a.Now).Len() == 0 {
			continue
		}
		if svc.Addresses.Len() == 0 {
			return
		}
		needed = append(needed, svc.Addresses.Strings()...)
	}
	if listed == "" {
		return
	}
	x := exposureOf(l, "")
	x.Service, x.Finding = listed, OK
	detail := fmt.Sprintf(
		"%s is bound to every address though the policy lets nobody in: bind it to 127.0.0.1",
		x.name(),
	)
	if len(needed) > 0 {
		detail = fmt.Sprintf(
			"%s is bound to every address though the policy opens it on %s only: bind it there",
			x.name(),
			strings.Join(needed, ", "),
		)
	}
	a.find(&x, BoundWider, address.Set{}, detail)
	a.mark(x, BoundWider)
}

// mark gives all rows of a socket a finding.
func (a *auditor) mark(socket Exposure, k Kind) {
	for i := range a.report.Exposures {
		x := &a.report.Exposures[i]
		same := x.Port == socket.Port && x.Protocol == socket.Protocol && x.bound == socket.bound
		if same {
			x.found = append(x.found, rowFinding{
				kind: k, severity: severityOf(k, address.Set{}, true), socket: socket.bound,
			})
		}
	}
}

// endings finds entries of the policy that have ended, or end soon.
func (a *auditor) endings() {
	if a.Written == nil {
		return
	}
	for _, svc := range a.Written.Services {
		for _, e := range svc.Expiring {
			sources, err := address.New(e.Prefix)
			if err != nil {
				continue
			}
			f := Finding{Service: svc.Name, Sources: sources}
			switch {
			case !e.Until.After(a.Now):
				f.Kind, f.Detail = Expired, fmt.Sprintf(
					"%s was allowed to reach %s until %s: remove the entry from the policy",
					e.Prefix,
					svc.Name,
					e.Until.UTC().Format("2006-01-02 15:04 MST"),
				)
			case e.Until.Before(a.Now.Add(expiringSoon)):
				f.Kind, f.Detail = Expiring, fmt.Sprintf(
					"%s is allowed to reach %s until %s",
					e.Prefix,
					svc.Name,
					e.Until.UTC().Format("2006-01-02 15:04 MST"),
				)
			default:
				continue
			}
			f.Severity = severityOf(f.Kind, sources, true)
			a.report.Findings = append(a.report.Findings, f)
		}
	}
}

// probe tests services against the policy's requirements, through their sockets on this host.
func (a *auditor) probe(ctx context.Context) {
	if a.Prober == nil || a.Policy == nil {
		return
	}
	for _, svc := range a.Policy.Services {
		want := a.Wants[svc.Name]
		if !want.TLS && want.Health == "" {
			continue
		}
		for _, l := range a.listeners {
			if l.Protocol != firewall.TCP ||
				!slices.ContainsFunc(
					svc.Ports,
					func(r firewall.PortRange) bool { return r.Contains(l.Protocol, l.Port) },
				) {
				continue
			}
			at := netip.AddrPortFrom(dialled(l.Address), l.Port)
			x := exposureOf(l, "")
			x.Service, x.Finding = svc.Name, OK
			if want.TLS {
				if err := a.Prober.TLS(ctx, at); err != nil {
					a.find(
						&x,
						NoTLS,
						address.Set{},
						fmt.Sprintf("%s must speak TLS, says the policy: %v", x.name(), err),
					)
					a.mark(x, NoTLS)
				}
			}
			if want.Health != "" {
				if err := a.Prober.Health(ctx, at, want.Health, want.TLS); err != nil {
					a.find(
						&x,
						Unhealthy,
						address.Set{},
						fmt.Sprintf(
							"the health check %s of %s fails: %v", want.Health, x.name(), err,
						),
					)
					a.mark(x, Unhealthy)
				}
			}
		}
	}
}

// dialled is the address at which this host reaches a socket bound to an address.
func dialled(bound netip.Addr) netip.Addr {
	switch {
	case bound.IsUnspecified() && bound.Is4():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case bound.IsUnspecified():
		return netip.IPv6Loopback()
	}
	return bound
}
