package xtables

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Sets are the host's ipsets, by name. Rules of any table, and of any reader, refer to them; so one
// Sets goes with one Ruleset. It is not safe for use by several goroutines.
type Sets struct {
	sets map[string]*ipset
	// load fills sets at the first look-up; nil if there is nothing to load.
	load func() error
	// why says why a set that isn't here is unknown.
	why     string
	unknown map[string]*exposure.Set
	lists   map[string]list
	// untold are warnings about unknown sets that arose since warnings was called.
	untold []string
}

// NewSets is empty: Read fills it. A set that isn't in it has unknown contents.
func NewSets() *Sets {
	return &Sets{
		sets:    map[string]*ipset{},
		unknown: map[string]*exposure.Set{},
		lists:   map[string]list{},
		why:     "the contents of ipset %s weren't given: give the output of `ipset save` too",
	}
}

// list is a list:set as one rule looks it up: its members in one set.
type list struct {
	key     []exposure.Operand
	set     *exposure.Set
	members []*exposure.Set
}

// Match looks a set up as --match-set NAME DIRECTIONS does: directions are "src" and "dst",
// separated by commas, at most six. False for other directions. A set that isn't there or has no
// model is unknown; one that the kernel wouldn't look at is empty.
func (s *Sets) Match(family exposure.Family, name, directions string) (exposure.Match, bool) {
	source, ok := parseDirections(directions)
	if !ok {
		return exposure.Match{}, false
	}
	i := s.find(name)
	switch {
	case i == nil || i.unknown != "":
		return s.unknownMatch(name, i), true
	case i.kind == "list:set":
		l, ok := s.list(i, family, source)
		if !ok {
			return s.unknownMatch(
				name,
				&ipset{unknown: "ipset " + name + " lists sets that have no model together"},
			), true
		}
		return exposure.Match{Key: l.key, In: l.set}, true
	}
	key, ok := i.key(family, source)
	if !ok {
		return never(name), true
	}
	return exposure.Match{Key: key, In: i.set}, true
}

// Update adds to a set or takes from it, as the target SET does. A list passes it on to its
// members: to which, their contents decide.
func (s *Sets) Update(
	family exposure.Family,
	name, directions string,
	op exposure.SetOp,
) ([]exposure.Statement, bool) {
	source, ok := parseDirections(directions)
	if !ok {
		return nil, false
	}
	names := []string{name}
	if i := s.find(name); i != nil && i.kind == "list:set" {
		names = i.members
	}
	var out []exposure.Statement
	for _, n := range names {
		i := s.find(n)
		if i == nil || i.unknown != "" || i.kind == "list:set" {
			m := s.unknownMatch(n, i)
			out = append(out, exposure.SetUpdate{Set: m.In, Op: op, Key: m.Key})
		} else if key, ok := i.key(family, source); ok {
			out = append(out, exposure.SetUpdate{Set: i.set, Op: op, Key: key})
		}
	}
	return out, true
}

func parseDirections(s string) ([]bool, bool) {
	var source []bool
	for d := range strings.SplitSeq(s, ",") {
		if d != "src" && d != "dst" || len(source) == 6 { // IPSET_DIM_MAX
			return nil, false
		}
		source = append(source, d == "src")
	}
	return source, true
}

// find loads the sets when the first is asked for.
func (s *Sets) find(name string) *ipset {
	if s.load != nil {
		load := s.load
		s.load = nil
		if err := load(); err != nil {
			s.sets = map[string]*ipset{}
			s.why = strings.ReplaceAll(err.Error(), "%", "%%") + " (ipset %s)"
		}
	}
	return s.sets[name]
}

// unknownMatch is a look-up of a set whose content is unknown.
func (s *Sets) unknownMatch(name string, i *ipset) exposure.Match {
	u := s.unknown[name]
	if u == nil {
		why := fmt.Sprintf(s.why, name)
		warning := "no output of `ipset save` was given"
		switch {
		case i != nil && i.unknown != "":
			why, warning = i.unknown, i.unknown
		case len(s.sets) > 0:
			warning = "it isn't in the output of `ipset save` that was given"
		}
		s.untold = append(s.untold, fmt.Sprintf(
			"ipset %s, which rules look up, is unknown, and they are undecided: %s",
			firewall.Excerpt(name), warning,
		))
		u = &exposure.Set{Name: name, Width: 1, Unknown: why}
		s.unknown[name] = u
	}
	return exposure.Match{
		Key: []exposure.Operand{{Field: exposure.FieldUnknown, Text: "ipset " + name}},
		In:  u,
	}
}

// warnings names the unknown sets, each once.
func (s *Sets) warnings() []string {
	out := s.untold
	if more := len(out) - maxPartly; more > 0 {
		out = append(out[:maxPartly:maxPartly], fmt.Sprintf("%d more ipsets are unknown", more))
	}
	s.untold = nil
	return out
}

// never is a look-up that fails whatever the packet.
func never(name string) exposure.Match {
	return exposure.Match{
		Key: []exposure.Operand{exposure.Const(exposure.Value{})},
		In:  &exposure.Set{Name: name, Width: 1},
	}
}

// list makes one set of a list's members: those that the kernel would look at (list_set_ktest in
// net/netfilter/ipset/ip_set_list_set.c). Members whose columns differ share a set that has them
// all, each "anything" in the others'.
func (s *Sets) list(i *ipset, family exposure.Family, source []bool) (list, bool) {
	id := fmt.Sprint(i.name, family, source)
	if l, ok := s.lists[id]; ok {
		return l, true
	}
	l := list{set: &exposure.Set{Name: i.name, Origin: i.set.Origin}}
	var keys [][]exposure.Operand
	optional := false // a field that some packets don't have would make the whole look-up fail
	for _, name := range i.members {
		m := s.find(name)
		if m == nil || m.unknown != "" || m.kind == "list:set" {
			return list{}, false
		}
		key, ok := m.key(family, source)
		if !ok {
			continue
		}
		for _, o := range key {
			if !slices.Contains(l.key, o) {
				l.key = append(l.key, o)
			}
			optional = optional || o.Field == exposure.FieldSourceMAC ||
				o.Field == exposure.FieldDestMAC
		}
		keys = append(keys, key)
		l.members = append(l.members, m.set)
	}
	if len(l.key) == 0 {
		m := never(i.name)
		l.key, l.set = m.Key, m.In
	} else if l.set.Width = len(l.key); optional && len(l.key) > 1 {
		return list{}, false
	}
	for n, m := range l.members {
		l.append(keys[n], m)
	}
	s.lists[id] = l
	return l, true
}

func (l *list) append(key []exposure.Operand, m *exposure.Set) {
	for i, box := range m.All() {
		if note, ok := m.Notes[i]; ok {
			if l.set.Notes == nil {
				l.set.Notes = map[int]exposure.Note{}
			}
			l.set.Notes[l.set.Len()] = note
		}
		for _, o := range l.key {
			if c := slices.Index(key, o); c >= 0 {
				l.set.Keys = append(l.set.Keys, box[c])
			} else {
				l.set.Keys = append(l.set.Keys, exposure.Full(o.Width()))
			}
		}
	}
}

// settle hands on to lists what rules do to their members. It is to be called after
// Ruleset.MarkDynamic.
func (s *Sets) settle() {
	for _, l := range s.lists {
		for _, m := range l.members {
			l.set.Grows = l.set.Grows || m.Grows
			l.set.Shrinks = l.set.Shrinks || m.Shrinks
			if m.Unknown != "" {
				l.set.Unknown = m.Unknown
			}
		}
	}
}

// Named is the contents of a set by its name, for rules that were read elsewhere; nil if it isn't
// there, can't be read, or has no model of its own, as lists of sets.
func (s *Sets) Named(name string) *exposure.Set {
	if i := s.find(name); i != nil && i.unknown == "" {
		return i.set
	}
	return nil
}
