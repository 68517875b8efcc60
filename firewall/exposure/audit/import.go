package audit

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
)

// Imported is a service that reproduces what is exposed today.
type Imported struct {
	firewall.Service
	Purpose string // who was found behind the port, for people
}

// Import turns what is exposed into services: each port that somebody may reach is open to exactly
// the sources that may reach it now, on the interfaces where they may. Where it can't be known
// whether a source gets through, it is let through: the rules that decide go on deciding. Ports
// that only the host itself reaches are left out.
func Import(r Report) []Imported {
	type key struct {
		protocol    string
		first, last uint16
	}
	rows := map[key][]Exposure{}
	var order []key
	for _, x := range r.Exposures {
		if x.Interface == "" || x.Direct {
			continue // an entry of a policy behind which nobody is, or a way that no service opens
		}
		k := key{x.Protocol, x.Port, max(x.Port, x.PortLast)}
		if rows[k] == nil {
			order = append(order, k)
		}
		rows[k] = append(rows[k], x)
	}
	slices.SortFunc(order, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.protocol, b.protocol))
	})
	var out []Imported
	names := map[string]int{}
	for _, k := range order {
		p, err := firewall.ParseProtocol(k.protocol)
		if err != nil {
			continue
		}
		for _, g := range openings(rows[k]) {
			svc := firewall.Service{
				Ports:      []firewall.PortRange{{Protocol: p, First: k.first, Last: k.last}},
				Interfaces: g.interfaces,
				Sources:    g.sources,
				Log:        firewall.LogDenied,
			}
			if len(g.addresses) > 0 {
				if svc.Addresses, err = firewall.NewPrefixes(g.addresses...); err != nil {
					continue
				}
			}
			svc.Name = serviceName(g.process, k.protocol, k.first, names)
			out = append(out, Imported{svc, g.purpose})
		}
	}
	return out
}

// opening is some interfaces by which the same sources reach a port, on the same addresses.
type opening struct {
	interfaces []string // nil: all
	addresses  []netip.Prefix
	sources    firewall.Prefixes
	process    string
	purpose    string
}

// openings groups the rows of one port. If every row names the address that it is bound to, the
// services do too; else one socket takes them all, and so does the service.
func openings(rows []Exposure) []opening {
	specific := map[netip.Addr][]Exposure{}
	var addresses []netip.Addr
	for _, x := range rows {
		at := x.Addresses
		if at == nil {
			at = []string{x.Address}
		}
		for _, s := range at {
			a, err := netip.ParseAddr(s)
			if err != nil || a.IsUnspecified() || x.Target != "" {
				return onInterfaces(rows, nil)
			}
			if specific[a] == nil {
				addresses = append(addresses, a)
			}
			specific[a] = append(specific[a], x)
		}
	}
	var out []opening
	for _, a := range addresses {
		out = append(out, onInterfaces(specific[a], []netip.Prefix{netip.PrefixFrom(a, a.BitLen())})...)
	}
	return out
}

// onInterfaces makes one opening for each set of sources.
func onInterfaces(rows []Exposure, addresses []netip.Prefix) []opening {
	var interfaces []string
	sources := map[string]firewall.Prefixes{}
	for _, x := range rows {
		if _, seen := sources[x.Interface]; !seen {
			interfaces = append(interfaces, x.Interface)
		}
		sources[x.Interface] = sources[x.Interface].Union(x.Reachable.Possible)
	}
	var out []opening
	for _, i := range interfaces {
		if sources[i].Len() == 0 {
			continue
		}
		if n := slices.IndexFunc(out, func(o opening) bool { return o.sources.Equal(sources[i]) }); n >= 0 {
			out[n].interfaces = append(out[n].interfaces, i)
			continue
		}
		process, purpose := behindRow(rows, i)
		out = append(
			out,
			opening{
				interfaces: []string{i},
				addresses:  addresses,
				sources:    sources[i],
				process:    process,
				purpose:    purpose,
			},
		)
	}
	if len(out) == 1 && len(out[0].interfaces) == len(interfaces) {
		out[0].interfaces = nil
	}
	return out
}

func behindRow(rows []Exposure, iface string) (process, purpose string) {
	for _, x := range rows {
		if x.Interface != iface {
			continue
		}
		var words []string
		for _, w := range []string{x.Process, x.Unit, x.Container} {
			if w != "" && !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
		purpose = strings.Join(words, ", ")
		if x.Target != "" {
			purpose = strings.TrimPrefix(purpose+", published to "+x.Target, ", ")
		}
		return x.Process, purpose
	}
	return "", ""
}

// serviceName is a process's name as a service can be called, told apart by the port, or failing
// that by a number.
func serviceName(process, protocol string, port uint16, taken map[string]int) string {
	var b strings.Builder
	for _, r := range strings.ToLower(process) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if b.Len() > 0 && !strings.HasSuffix(b.String(), "-") {
			b.WriteByte('-')
		}
	}
	name := strings.Trim(b.String(), "-")
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = strings.Trim(fmt.Sprintf("%s-%d", protocol, port), "-")
	}
	for _, candidate := range []string{name, fmt.Sprintf("%s-%s-%d", name, protocol, port)} {
		if taken[candidate] == 0 {
			taken[candidate]++
			return candidate
		}
	}
	for n := 2; ; n++ {
		candidate := fmt.Sprintf("%s-%s-%d-%d", name, protocol, port, n)
		if taken[candidate] == 0 {
			taken[candidate]++
			return candidate
		}
	}
}
