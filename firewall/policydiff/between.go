package policydiff

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Between says what leads from one side to the other: what holds for all services first, then
// services by name. What has expired at now lets nobody in. wholly lists more sources.
func Between(from, to Side, now time.Time, wholly bool) []Change {
	d := differ{from, to, now, newLister(wholly), sets{}}
	var out []Change
	if s := d.global(); len(s) > 0 {
		out = append(out, Change{Action: Modify, Settings: s})
	}
	byName := map[string][2]*firewall.Service{}
	var names []string
	for i, side := range []Side{from, to} {
		for n := range side.State.Services {
			svc := &side.State.Services[n]
			both, known := byName[svc.Name]
			if !known {
				names = append(names, svc.Name)
			}
			both[i] = svc
			byName[svc.Name] = both
		}
	}
	leases := d.leases()
	for service := range leases {
		if _, known := byName[service]; !known {
			names = append(names, service)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		c := d.service(name, byName[name][0], byName[name][1])
		d.addLeases(&c, leases[name])
		if _, known := byName[name]; !known && len(c.Closes) == 0 {
			c.Action = Add
		} else if !known && len(c.Opens) == 0 {
			c.Action = Remove
		}
		if len(c.Opens)+len(c.Closes)+len(c.Settings) > 0 || c.Action != Modify {
			out = append(out, c)
		}
	}
	return filled(out)
}

// Moved adds to changes that the rules move from one backend to another one.
func Moved(changes []Change, from, to string) []Change {
	if from == to || from == "" {
		return changes
	}
	if len(changes) == 0 || changes[0].Service != "" {
		changes = slices.Insert(changes, 0, Change{Action: Modify})
	}
	changes[0].addSetting("backend", from, to)
	return filled(changes)
}

type differ struct {
	from, to Side
	now      time.Time
	list     *lister
	sets     sets
}

func (d *differ) service(name string, from, to *firewall.Service) Change {
	c := Change{Service: name, Action: Modify}
	switch {
	case from == nil && to == nil: // of a lease alone
	case from == nil:
		c.Action, c.Ports = Add, d.to.ports(*to)
		c.Opens = d.whole(d.to, *to)
		c.Settings = settings(&firewall.Service{Log: firewall.LogDenied}, to)
		c.addSetting("except", "", d.to.written(name).except())
	case to == nil:
		c.Action, c.Ports = Remove, d.from.ports(*from)
		c.Closes = d.whole(d.from, *from)
		c.Settings = d.whereGone(*from)
	default:
		c.Ports = d.to.ports(*to)
		d.sources(&c, *from, *to)
		if !slices.Equal(from.Ports, to.Ports) {
			c.addSetting("port", list(d.from.ports(*from)), list(d.to.ports(*to)))
		}
		c.Settings = append(c.Settings, settings(from, to)...)
		if d.from.Written != nil && d.to.Written != nil && len(c.Opens)+len(c.Closes) > 0 {
			c.addSetting("except", d.from.written(name).except(), d.to.written(name).except())
		}
		c.Settings = append(c.Settings, d.ends(*from, *to)...)
	}
	return c
}

func (c *Change) addSetting(key, from, to string) {
	if from != to {
		c.Settings = append(c.Settings, Setting{Key: key, From: from, To: to})
	}
}

// whereGone says what happens to the ports of a service that is removed: other services list them,
// or unlisted decides.
func (d *differ) whereGone(gone firewall.Service) []Setting {
	var heirs []string
	for _, svc := range d.to.State.Services {
		for _, r := range svc.Ports {
			if slices.ContainsFunc(gone.Ports, r.Overlaps) {
				heirs = append(heirs, svc.Name)
				break
			}
		}
	}
	if len(heirs) > 0 {
		return []Setting{{Key: KeyOwner, From: gone.Name, To: list(heirs)}}
	}
	return []Setting{{Key: "unlisted", To: string(withDefaults(d.to.State).Unlisted)}}
}

// settings are the keys of a service, but for its ports and sources, that differ.
func settings(from, to *firewall.Service) []Setting {
	var c Change
	c.addSetting("interfaces", list(from.Interfaces), list(to.Interfaces))
	c.addSetting("addresses", addresses(from.Addresses), addresses(to.Addresses))
	c.addSetting("rate", rate(from.Rate), rate(to.Rate))
	c.addSetting("log", string(from.Log), string(to.Log))
	return c.Settings
}

// rate words a rate as it is written: a burst that is the rate's own is left out.
func rate(r *firewall.Rate) string {
	if r == nil {
		return ""
	}
	text := r.String()
	if r.Burst == r.Count {
		text = strings.Replace(text, fmt.Sprintf(" burst %d", r.Burst), "", 1)
	}
	return text
}

func list(words []string) string { return strings.Join(words, ", ") }

// maxAddresses is how many addresses of the host a setting names.
const maxAddresses = 8

func addresses(s address.Set) string {
	var words []string
	for p := range s.All() {
		if len(words) == maxAddresses {
			words = append(words, "…")
			break
		}
		words = append(words, source(p))
	}
	return list(words)
}

// global are the keys that hold for all services.
func (d *differ) global() []Setting {
	a, b := withDefaults(d.from.State), withDefaults(d.to.State)
	var c Change
	c.addSetting("unlisted", string(a.Unlisted), string(b.Unlisted))
	c.addSetting("refuse", string(a.Refuse), string(b.Refuse))
	c.addSetting("established", string(a.Established), string(b.Established))
	if b.Unlisted == firewall.UnlistedDeny { // else they mean nothing from now on
		c.addSetting("essentials", list(a.Essentials.Names()), list(b.Essentials.Names()))
	}
	c.addSetting("direct", list(a.Direct), list(b.Direct))
	c.addSetting("connected", addresses(a.Connected), addresses(b.Connected))
	c.addSetting("ipvs", virtual(a.Virtual), virtual(b.Virtual))
	return c.Settings
}

// withDefaults fills in what a host without a policy has, so that a first policy is compared with
// the defaults.
func withDefaults(s firewall.State) firewall.State {
	s.Unlisted = cmp.Or(s.Unlisted, firewall.UnlistedIgnore)
	s.Refuse = cmp.Or(s.Refuse, firewall.RefuseDrop)
	s.Established = cmp.Or(s.Established, firewall.EstablishedCut)
	if s.Unlisted != firewall.UnlistedDeny {
		s.Essentials = firewall.DefaultEssentials
	}
	return s
}

// maxVirtual is how many services of IPVS a setting names.
const maxVirtual = 8

func virtual(services []firewall.VirtualService) string {
	var words []string
	for _, v := range services {
		if len(words) == maxVirtual {
			words = append(words, "…")
			break
		}
		words = append(words, v.String())
	}
	return list(words)
}

// ends are entries that both sides let in, and that end at another time.
func (d *differ) ends(from, to firewall.Service) (out []Setting) {
	seen := map[string]bool{}
	word := func(svc firewall.Service, e firewall.ExpiringSource) string {
		if svc.Sources.Covers(e.Prefix) {
			return "never"
		}
		for _, x := range svc.Expiring {
			if x.Prefix.Overlaps(e.Prefix) && x.Prefix.Bits() <= e.Prefix.Bits() &&
				x.Until.After(d.now) {
				return x.Until.UTC().Format(time.RFC3339)
			}
		}
		return "" // it is opened or closed, which is said elsewhere
	}
	for _, e := range slices.Concat(from.Expiring, to.Expiring) {
		name := source(e.Prefix)
		a, b := word(from, e), word(to, e)
		if a == b || a == "" || b == "" || seen[name] || len(out) == maxSources {
			continue
		}
		seen[name] = true
		out = append(out, Setting{Key: "expires", Source: name, From: a, To: b})
	}
	slices.SortFunc(out, func(a, b Setting) int { return cmp.Compare(a.Source, b.Source) })
	return out
}
