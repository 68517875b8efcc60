package audit

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Interfaces and addresses that the host gets later, such as a VPN's or an IPv6 privacy address. A
// service names those of today, or is for all; the rules may decide otherwise about the later ones.
// The import asks them about a host that has some more.

const (
	// maxLater bounds the questions about later interfaces and addresses.
	maxLater = 4_000
	// laterName is the name of an interface that no rule names.
	laterName = "portgrave-later"
	// maxWildcards bounds the names that rules have wildcards for and that are tried.
	maxWildcards = 4
)

// later asks about a host with more interfaces and addresses.
type later struct {
	*importWriter
	evaluator  *exposure.Evaluator
	interfaces []exposure.Interface
	addresses  map[address.Family]netip.Addr // one of each family, if there is room for one
	asked      int
	// beyond are the services that refuse what the rules let in there, and open those that let in
	// what the rules refuse.
	beyond, open struct{ interfaces, addresses []string }
}

// noteLater names services that treat later interfaces or addresses otherwise than the rules.
func (w *importWriter) noteLater() {
	l := w.later()
	for _, s := range w.out.Services {
		if !s.Idle {
			l.service(s)
		}
	}
	if names := l.beyond.addresses; len(names) > 0 {
		w.note(
			"rules tell this host's addresses apart, so %s list those of today: at addresses that "+
				"it gets later, such as IPv6 privacy addresses, nobody gets in to them",
			strings.Join(names, ", "),
		)
	}
	if names := l.beyond.interfaces; len(names) > 0 {
		w.note("rules tell interfaces apart, so %s list those of today: by interfaces that come "+
			"later, such as a VPN's, nobody gets in to them", strings.Join(names, ", "))
	}
	if names := l.open.addresses; len(names) > 0 {
		w.note(
			"%s hold for addresses that this host gets later too, where the rules let nobody in: "+
				"write the addresses of today in addresses to keep that",
			strings.Join(names, ", "),
		)
	}
	if names := l.open.interfaces; len(names) > 0 {
		w.note("%s hold for interfaces that come later too, where the rules let nobody in: write "+
			"the interfaces of today in interfaces to keep that", strings.Join(names, ", "))
	}
}

// later makes that host.
func (w *importWriter) later() *later {
	l := &later{importWriter: w, addresses: map[address.Family]netip.Addr{}}
	h := *w.Host
	h.Interfaces, h.Routes = slices.Clone(h.Interfaces), slices.Clone(h.Routes)
	last := 0
	for _, i := range h.Interfaces {
		last = max(last, i.Index)
	}
	for _, name := range append([]string{laterName}, w.wildcards()...) {
		last++
		i := exposure.Interface{Name: name, Index: last, Up: true, Ethernet: true}
		l.interfaces = append(l.interfaces, i)
		h.Interfaces = append(h.Interfaces, i)
		for _, all := range []string{"0.0.0.0/0", "::/0"} {
			h.Routes = append(h.Routes, exposure.Route{
				Table: 254, Type: exposure.RouteUnicast, Dest: netip.MustParsePrefix(all),
				Metric: 1 << 30, NextHops: []exposure.NextHop{{Index: last}},
			})
		}
	}
	for n := range w.Host.Interfaces {
		i := &h.Interfaces[n]
		for _, p := range slices.Clone(i.Addresses) {
			f := address.IPv4
			if p.Addr().Is6() {
				f = address.IPv6
			}
			a, free := w.freeIn(p)
			if _, known := l.addresses[f]; known || !free || i.Loopback {
				continue
			}
			l.addresses[f] = a
			i.Addresses = append(slices.Clone(i.Addresses), netip.PrefixFrom(a, p.Bits()))
			h.Routes = append(h.Routes, exposure.Route{
				Table: 255, Type: exposure.RouteLocal, Dest: netip.PrefixFrom(a, a.BitLen()),
				NextHops: []exposure.NextHop{{Index: i.Index}},
			})
		}
	}
	l.evaluator = w.newEvaluator(w.Rules, &h)
	return l
}

// freeIn is an address of a network that the host doesn't have and no rule names.
func (w *importWriter) freeIn(p netip.Prefix) (netip.Addr, bool) {
	if p.Addr().IsLinkLocalUnicast() {
		return netip.Addr{}, false
	}
	a := p.Addr().Next()
	for range maxExamples {
		if !p.Contains(a) {
			a = p.Masked().Addr().Next()
		}
		if !w.Host.Owns(a) && !w.group(a) && !w.namesDestination(a) && p.Contains(a) {
			return a, true
		}
		a = a.Next()
	}
	return netip.Addr{}, false
}

// wildcards are names that rules' wildcards match and that no interface has.
func (w *importWriter) wildcards() (out []string) {
	for _, t := range w.Rules.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, st := range r.Statements {
					m, ok := st.(exposure.Match)
					if !ok || m.In == nil || len(m.Key) != 1 || m.In.Len() > fewAddresses ||
						m.Key[0].Field != exposure.FieldInName || c.Owner() == "portgrave" {
						continue
					}
					for _, box := range m.In.All() {
						// An interface that isn't there yet is noted elsewhere.
						if name := box[0].From.Text() + "777"; box[0].From != box[0].To &&
							w.hasInterface(box[0]) && w.Host.Interface(name) == nil &&
							len(
								name,
							) < 16 && len(out) < maxWildcards && !slices.Contains(out, name) {
							out = append(out, name)
						}
					}
				}
			}
		}
	}
	return out
}

// service compares the rules with one service.
func (l *later) service(s ImportedService) {
	for _, f := range address.Families {
		all := exposure.AllSources(f).Prefixes(f)
		sources := exposure.SourcesOf(s.Sources.Intersect(all), f).Minus(l.unroutable[slot(f)])
		if sources.Empty() || !s.Ports[0].Protocol.Of(f) {
			continue
		}
		q := exposure.Question{
			Family: f, Protocol: s.Ports[0].Protocol, Port: s.Ports[0].First,
			Answers: exposure.NoAnswers, NoExtensions: true, Sources: sources,
		}
		if to, ok := l.ordinaryAddress(s, f); ok {
			q.Destination = to
			for _, on := range l.interfaces {
				q.Interface = on.Name
				in, none := l.letsIn(q)
				switch {
				case in && len(s.Interfaces) > 0:
					l.beyond.interfaces = appendOnce(l.beyond.interfaces, s.Name)
				case none && len(s.Interfaces) == 0 && on.Name == laterName:
					l.open.interfaces = appendOnce(l.open.interfaces, s.Name)
				}
			}
		}
		to, ok := l.addresses[f]
		if q.Destination = to; !ok {
			continue
		}
		refused, asked := true, false
		for _, on := range l.importWriter.interfaces {
			if !s.OnInterface(on.Name) {
				continue
			}
			q.Interface = on.Name
			in, none := l.letsIn(q)
			if in && s.Addresses.Len() > 0 {
				l.beyond.addresses = appendOnce(l.beyond.addresses, s.Name)
			}
			asked, refused = true, refused && none
		}
		if asked && refused && s.Addresses.Len() == 0 {
			l.open.addresses = appendOnce(l.open.addresses, s.Name)
		}
	}
}

// ordinaryAddress is an address of the host that a service is for, and not one of several hosts.
func (l *later) ordinaryAddress(s ImportedService, f address.Family) (netip.Addr, bool) {
	for _, a := range l.importWriter.addresses[f] {
		if s.OnAddress(a) && !a.IsLinkLocalUnicast() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// letsIn reports whether the rules let in some of the sources, and whether they surely let in none.
func (l *later) letsIn(q exposure.Question) (some, none bool) {
	if l.asked++; l.asked > maxLater {
		return false, false
	}
	answer, err := l.evaluator.Evaluate(q)
	if err != nil {
		return false, false
	}
	_, possible := answer.Through()
	return !possible.Empty(), possible.Empty()
}
