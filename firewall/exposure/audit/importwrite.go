package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/iana"
)

// importWriter makes services from a survey.
type importWriter struct {
	*survey
	out   *Imported
	taken map[string]bool
	// unknownToAll are rules for all ports whose sources can't be known.
	unknownToAll []string
	// endingToAll are the sources that get in to all ports for a time, in the pool's endings.
	endingToAll int
	// unsayable are interfaces that a policy can't name.
	unsayable []string
	// sampledOpen: ports were omitted that a sample found open.
	sampledOpen bool
}

// group becomes one service.
type group struct {
	opening
	interfaces string
	on         []string // nil: all
	behind     receiver
	idle       bool
	targets    string
	everything bool // the profile of most ports
	ports      []firewall.PortRange
	comments   []string
}

func (g *group) key() string {
	return fmt.Sprint(g.opening.key(), "|", g.interfaces, "|", g.behind, "|", g.behind.pid, "|",
		g.idle, "|", g.targets, "|", g.everything)
}

func (w *importWriter) deny() bool { return w.out.Unlisted == firewall.UnlistedDeny }

// services makes the services, in order of ports.
func (w *importWriter) services() {
	var groups []*group
	at := map[string]*group{}
	for _, x := range w.subjects {
		if w.essential(x) {
			continue
		}
		for _, g := range w.groupsOf(x) {
			k := g.key() + "|" + x.Protocol.String()
			switch {
			case g.everything && strings.HasPrefix(x.Protocol.String(), "protocol-"):
				continue // two hundred unused numbers
			case !x.Protocol.HasPorts():
				k = g.key()
			case g.everything:
			case g.idle:
				k += fmt.Sprint(g.comments)
			case g.behind.hasGenericName() && g.behind.pid == 0:
				k += x.PortRange.String() // each may have another receiver
			}
			known := at[k]
			if known == nil {
				known = g
				at[k] = g
				groups = append(groups, g)
			}
			known.ports = append(known.ports, x.PortRange)
			for _, c := range g.comments {
				known.comments = appendOnce(known.comments, c)
			}
		}
	}
	groups = acrossProtocols(groups)
	slices.SortStableFunc(groups, func(a, b *group) int {
		rank := func(g *group) int {
			switch {
			case g.idle:
				return 2
			case g.everything || !g.ports[0].Protocol.HasPorts():
				return 1
			}
			return 0
		}
		return cmp.Or(
			cmp.Compare(rank(a), rank(b)), cmp.Compare(a.ports[0].First, b.ports[0].First),
		)
	})
	for _, g := range groups {
		w.service(g)
	}
}

// groupsOf returns the openings of one subject, each with its interfaces.
func (w *importWriter) groupsOf(x *subject) (out []*group) {
	somebody := x.receiver
	targets := w.targetsOf(x, &somebody)
	usualHere := w.usualEverywhere(x)
	if !w.deny() && !somebody.there && usualHere && w.openToAll(x) {
		return nil // left alone
	}
	for i, iface := range w.interfaces {
		p, usual := x.profiles[i], w.usual(x, i)
		if !w.deny() {
			usual = usualHere // a service for other interfaces would close the port on this one
		}
		for _, o := range p.openings {
			if x.sampled && w.deny() {
				w.sampledOpen = w.sampledOpen || o.sources != 0
				continue // may be wider than the rules
			}
			if usual && w.deny() && o.sources == 0 && !somebody.there {
				w.unknownToAll = appendOnce(w.unknownToAll, o.unknown)
				w.endingToAll = w.pool.unionEndings(w.endingToAll, o.ending)
				continue // unlisted: deny covers it
			}
			g := &group{opening: o, everything: usual && !somebody.there, comments: p.comments}
			g.idle = w.deny() && !somebody.there && x.Protocol.HasPorts()
			if !g.everything && !g.idle {
				g.behind, g.targets = somebody, targets
			}
			out = join(out, g, iface.Name)
		}
	}
	out = w.nameInterfaces(out)
	for _, g := range out {
		g.interfaces = strings.Join(g.on, ",")
	}
	if len(out) == 0 && !w.deny() {
		out = append(out, &group{ // closed to every source
			behind:     somebody,
			targets:    targets,
			everything: usualHere && !somebody.there,
		})
	}
	return out
}

// nameInterfaces names no interface in groups that are for all, and drops those that a policy can't
// name.
func (w *importWriter) nameInterfaces(groups []*group) (out []*group) {
	for _, g := range groups {
		if len(g.on) == len(w.interfaces) {
			g.on = nil
			out = append(out, g)
			continue
		}
		g.on = slices.DeleteFunc(g.on, func(name string) bool {
			if sayable(name) {
				return false
			}
			w.unsayable = appendOnce(w.unsayable, name)
			return true
		})
		if len(g.on) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// sayable reports whether a policy can name an interface: a name that ends in * would be a prefix.
func sayable(name string) bool {
	return !strings.Contains(name, "*") && firewall.CheckInterfacePattern(name) == nil
}

// join adds a group, or adds its interface to one that is otherwise equal.
func join(groups []*group, g *group, iface string) []*group {
	n := slices.IndexFunc(groups, func(o *group) bool { return o.key() == g.key() })
	if n < 0 {
		n = len(groups)
		groups = append(groups, g)
	}
	groups[n].on = append(groups[n].on, iface)
	for _, c := range g.comments {
		groups[n].comments = appendOnce(groups[n].comments, c)
	}
	return groups
}

// usualEverywhere reports whether a subject has the default profile of every interface.
func (w *importWriter) usualEverywhere(x *subject) bool {
	for i := range w.interfaces {
		if !w.usual(x, i) {
			return false
		}
	}
	return true
}

// openToAll reports whether every source certainly gets in to a subject, by every interface.
func (w *importWriter) openToAll(x *subject) bool {
	everyone := address.Set{}
	for _, f := range address.Families {
		if len(w.addresses[f]) > 0 && x.Protocol.Of(f) {
			everyone = everyone.Union(exposure.AllSources(f).Prefixes(f))
		}
	}
	for i, p := range x.profiles {
		var by address.Set // for the families that the interface has
		for _, f := range address.Families {
			if len(w.addressesBy(w.interfaces[i], f)) > 0 {
				by = by.Union(exposure.AllSources(f).Prefixes(f))
			}
		}
		if by = by.Intersect(everyone); by.Len() == 0 {
			continue
		}
		if len(p.openings) != 1 || p.openings[0].addresses != "" || p.openings[0].rate.Count > 0 ||
			p.openings[0].unknown != "" ||
			by.Minus(w.pool.simplestPrefixes(p.openings[0].sources)).Len() > 0 {
			return false
		}
	}
	return true
}

// targetsOf says where the packets of a subject go, if not to this host, and sets the receiver
// there.
func (w *importWriter) targetsOf(x *subject, b *receiver) string {
	var targets []string
	for _, p := range x.profiles {
		for _, t := range p.targets {
			targets = appendOnce(targets, t)
		}
	}
	if len(targets) == 0 {
		return ""
	}
	row := Exposure{Protocol: x.Protocol.String()}
	w.auditor.behind(&row, targets, x.Protocol)
	*b = receiver{process: row.Process, unit: row.Unit, container: row.Container, there: true}
	return strings.Join(targets, ", ")
}

// essential reports whether the policy's essentials decide on a subject.
func (w *importWriter) essential(x *subject) bool {
	switch x.PortRange {
	case firewall.Portless(firewall.Ping), firewall.Portless(firewall.IGMP):
		return true
	}
	return dhcpClient(x.PortRange) && w.deny()
}

// dhcpClient reports whether ports are those of the DHCP client.
func dhcpClient(ports firewall.PortRange) bool {
	return ports == single(firewall.UDP, firewall.DHCPClientPort) ||
		ports == single(firewall.UDP, firewall.DHCPv6ClientPort)
}

func single(p firewall.Protocol, port uint16) firewall.PortRange {
	return firewall.PortRange{Protocol: p, First: port, Last: port}
}

// acrossProtocols joins groups that differ only in the protocol of their ports.
func acrossProtocols(groups []*group) (out []*group) {
	at := map[string]*group{}
	for _, g := range groups {
		var ports strings.Builder
		whole := false
		for _, p := range merged(g.ports) {
			whole = whole || !p.Protocol.HasPorts()
			fmt.Fprintf(&ports, "%d-%d,", p.First, p.Last)
		}
		k := g.key() + ports.String()
		if known := at[k]; known != nil && !whole {
			known.ports = append(known.ports, g.ports...)
			for _, c := range g.comments {
				known.comments = appendOnce(known.comments, c)
			}
			continue
		}
		if !whole {
			at[k] = g
		}
		out = append(out, g)
	}
	return out
}

// merged joins adjacent ranges of ports.
func merged(ports []firewall.PortRange) (out []firewall.PortRange) {
	ports = slices.Clone(ports)
	slices.SortFunc(ports, func(a, b firewall.PortRange) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.First, b.First))
	})
	for _, p := range ports {
		if n := len(out) - 1; n >= 0 && out[n].Protocol == p.Protocol && p.Protocol.HasPorts() &&
			int(out[n].Last)+1 >= int(p.First) {
			out[n].Last = max(out[n].Last, p.Last)
			continue
		}
		out = append(out, p)
	}
	return out
}

// severalProtocols is the fewest protocols without ports for which a service isn't named after one
// of them.
const severalProtocols = 4

// service writes a group.
func (w *importWriter) service(g *group) {
	svc := ImportedService{Idle: g.idle, Everything: g.everything, Behind: g.behind.String()}
	svc.Ports, svc.Interfaces, svc.Log = merged(g.ports), g.on, firewall.LogDenied
	svc.Sources = w.pool.simplestPrefixes(g.sources)
	if len(g.at) > 0 {
		svc.Addresses, _ = address.New(
			singlesOf(g.at)...) // addresses always make a valid set
	}
	if g.rate.Count > 0 {
		rate := g.rate
		svc.Rate, svc.Unlimited = &rate, w.pool.simplestPrefixes(g.unlimited)
	}
	svc.Rated, svc.Unknown = lines(g.rated), lines(g.unknown)
	svc.Withheld = w.pool.simplestPrefixes(g.withheld)
	svc.Ending, svc.MoreEnding = w.endingOf(w.pool.endings[g.ending])
	for _, rule := range svc.Unknown {
		if w.effectOf(rule) == "stops" {
			svc.Stopping = append(svc.Stopping, rule)
		}
	}
	svc.Purpose = strings.Join(g.comments, "; ")
	svc.Target = g.targets
	name := nameOf(g.behind, svc.Ports, svc.Purpose)
	if g.everything {
		svc.Purpose = "" // comments of rules for all ports don't describe one port
		if name = "all-ports"; !svc.Ports[0].Protocol.HasPorts() {
			name = "other-protocols"
		}
	} else if len(svc.Ports) >= severalProtocols && !svc.Ports[0].Protocol.HasPorts() {
		name = "other-protocols"
	}
	if name == "" {
		name = "service"
	}
	names, first := []string{name}, svc.Ports[0]
	if len(g.on) > 0 {
		names = append(names, name+"-"+cmp.Or(toName(g.on[0]), "interface"))
	}
	switch known := iana.UsualName(first.First); {
	case !first.Protocol.HasPorts():
	case g.everything:
		names = append(names, fmt.Sprintf("%s-%s", name, first.Protocol))
	default:
		if known != "" && known != name {
			names = append(names, name+"-"+known)
		}
		if port := fmt.Sprintf("%s-%d", first.Protocol, first.First); port != name {
			names = append(names, name+"-"+port)
		}
	}
	svc.Name = freeName(w.taken, names...)
	if text := svc.UnlimitedText(); text != "" {
		w.note("service %s: %s", svc.Name, text)
	}
	w.out.Services = append(w.out.Services, svc)
}

// maxSourcesNamed bounds the sources that a note names.
const maxSourcesNamed = 4

// UnlimitedText names the sources that the rate limits but the rules don't; "" if there are none.
func (s ImportedService) UnlimitedText() string {
	if s.Unlimited.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("the rate holds for %s too, which the old rules don't limit",
		fewOf(s.Unlimited))
}

// WithheldText names the sources that --include-unknown adds; "" if there are none.
func (s ImportedService) WithheldText() string {
	if s.Withheld.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("--include-unknown allows %s", fewOf(s.Withheld))
}

// fewOf names some prefixes of a set: "0.0.0.0/0 but 192.0.2.1/32".
func fewOf(p address.Set) string {
	in, out := p, address.Set{}
	if p.Len() > maxSourcesNamed {
		in, out = p.Short()
	}
	text := strings.Join(firstOf(in), ", ")
	if out.Len() > 0 {
		text += " but " + strings.Join(firstOf(out), ", ")
	}
	return text
}

// firstOf names the first prefixes of a set, and how many more there are.
func firstOf(p address.Set) []string {
	names := p.FirstStrings(maxSourcesNamed)
	if more := p.Len() - maxSourcesNamed; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return names
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func singlesOf(list []netip.Addr) (out []netip.Prefix) {
	for _, a := range list {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// ping reproduces which sources may ping. Without a service, every source may.
func (w *importWriter) ping(x *subject) {
	open, closed := w.openToAll(x), true
	for _, p := range x.profiles {
		closed = closed && p.empty()
	}
	switch {
	case open || len(x.profiles) == 0:
		return
	case closed && w.deny():
		w.out.Closed |= firewall.EssentialEcho
		return
	}
	var groups []*group
	for i, iface := range w.interfaces {
		for _, o := range x.profiles[i].openings {
			groups = join(groups, &group{opening: o, comments: x.profiles[i].comments}, iface.Name)
		}
	}
	groups = w.nameInterfaces(groups)
	if len(groups) == 0 {
		groups = []*group{{}}
	}
	for _, g := range groups {
		g.ports = []firewall.PortRange{x.PortRange}
		w.service(g)
	}
}

// addPing adds a service that treats pings as the essentials do, if nobody listens at all. It keeps
// the list of services from being empty: a reader can't remove the # of a service below
// "services: []".
func (w *importWriter) addPing() {
	if len(w.out.Services) == 0 || slices.ContainsFunc(w.out.Services,
		func(s ImportedService) bool { return !s.Idle }) {
		return
	}
	g := &group{ports: []firewall.PortRange{firewall.Portless(firewall.Ping)}}
	if !w.out.Closed.Has(firewall.EssentialEcho) {
		var everyone sources
		for _, f := range address.Families {
			everyone[slot(f)] = exposure.AllSources(f)
		}
		g.sources = w.pool.number(everyone)
	}
	w.service(g)
}
