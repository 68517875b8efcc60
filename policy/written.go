package policy

import (
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// Written is how the policy writes its services, for who compares it with another one. contents is
// what networks hold, as far as the caller knows: those of Compiled. Networks that stand in the
// policy itself need not be in it.
func (p *Policy) Written(contents map[string]address.Set) *policydiff.Written {
	w := &policydiff.Written{
		Services: make(map[string]policydiff.Service, len(p.services)),
		Networks: make(map[string]address.Set, len(contents)),
	}
	for name, set := range builtIn {
		w.Networks[name] = set
	}
	for _, net := range p.used() { // each network comes after those it names
		set, known := contents[net.name]
		if !known && !net.external() {
			set, known = union(net.entries, w.Networks)
		}
		if known {
			w.Networks[net.name] = set
		}
	}
	for _, s := range p.services {
		written := policydiff.Service{Allow: entriesOf(s.allow), Except: entriesOf(s.except)}
		for _, r := range s.enforced.Ports {
			written.Ports = append(written.Ports, r.String())
		}
		w.Services[s.enforced.Name] = written
	}
	return w
}

// union is what entries of a network hold; false if one of them names a network that is not known.
func union(entries []source, known map[string]address.Set) (address.Set, bool) {
	var inline address.Builder
	var sets []address.Set
	for _, e := range entries {
		if e.network == "" {
			if inline.Add(e.prefix) != nil {
				return address.Set{}, false
			}
			continue
		}
		set, is := known[e.network]
		if !is {
			return address.Set{}, false
		}
		sets = append(sets, set)
	}
	return address.Union(append(sets, inline.Set())...), true
}

func entriesOf(sources []source) []policydiff.Entry {
	entries := make([]policydiff.Entry, 0, len(sources))
	for _, s := range sources {
		entries = append(entries,
			policydiff.Entry{Network: s.network, Prefix: s.prefix, Expires: s.expires})
	}
	return entries
}
