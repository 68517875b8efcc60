package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// Namer says in names of networks who some sources are: "everywhere except office". What it says
// is exactly those sources, or else it lists prefixes. Sources of one IP version get "(IPv4)" or
// "(IPv6)" behind names that have both.
type Namer struct {
	networks map[string]address.Set
	known    map[address.Identity]string
	// scopes has the networks as far as they are of both IP versions, or of one alone.
	scopes map[string][]namedNetwork
}

// namedNetwork is a network as far as it is in a scope; whole: it has nothing else.
type namedNetwork struct {
	name  string
	set   address.Set
	whole bool
}

// Everywhere is the name of all sources, and Nobody of none.
const (
	Everywhere = "everywhere"
	Nobody     = "nobody"
)

var (
	allV4     = address.Must("0.0.0.0/0")
	allV6     = address.Must("::/0")
	allFamily = allV4.Union(allV6)
)

// scopeV4 and scopeV6 stand behind names of one IP version.
const (
	scopeV4 = " (IPv4)"
	scopeV6 = " (IPv6)"
)

// versions reports which IP versions a set has sources of.
func versions(s address.Set) (v4, v6 bool) {
	for range s.Family(address.IPv4) {
		v4 = true
		break
	}
	for range s.Family(address.IPv6) {
		v6 = true
		break
	}
	return v4, v6
}

// Bounds on the search for names, which is made for each set once.
const (
	// maxNameable is the most prefixes of sources that are worth a search. Longer ones are compared
	// with the networks as a whole.
	maxNameable = 2000
	// maxNamePrefixes is how many prefixes a name shows.
	maxNamePrefixes = 4
)

// NewNamer makes a Namer for the networks of a policy.
func NewNamer(networks map[string]address.Set) *Namer {
	return &Namer{networks, map[address.Identity]string{}, map[string][]namedNetwork{}}
}

// scope has everything and the networks, as far as they are in all of a scope, the largest first.
func (n *Namer) scope(name string, all address.Set) []namedNetwork {
	if list, known := n.scopes[name]; known {
		return list
	}
	list := []namedNetwork{{Everywhere, all, name == ""}}
	for _, network := range slices.Sorted(maps.Keys(n.networks)) {
		set := n.networks[network]
		v4, v6 := versions(set)
		switch {
		case network == "any", network == Everywhere, network == Nobody: // they mean something else
		case name == scopeV4 && !v4, name == scopeV6 && !v6, !v4 && !v6:
		case name == "", name == scopeV4 && !v6, name == scopeV6 && !v4:
			list = append(list, namedNetwork{network, set, true})
		case set.Len() <= maxNameable: // of a part of a longer one a copy would be made
			list = append(list, namedNetwork{network, set.Intersect(all), false})
		}
	}
	slices.SortStableFunc(list[1:], func(a, b namedNetwork) int {
		return cmp.Compare(sizeOf(b.set), sizeOf(a.set))
	})
	n.scopes[name] = list
	return list
}

// sizeOf is how much of both IP versions a set has, roughly.
func sizeOf(s address.Set) float64 {
	if s.Len() > maxNameable {
		return 0
	}
	sum := 0.
	for p := range s.All() {
		f := 1.
		for range p.Bits() {
			f /= 2
		}
		sum += f
	}
	return sum
}

// Words name some sources.
func (n *Namer) Words(s address.Set) string {
	if s.IsZero() {
		return Nobody
	}
	id := s.Identity()
	if words, known := n.known[id]; known {
		return words
	}
	words := n.words(s)
	n.known[id] = words
	return words
}

func (n *Namer) words(s address.Set) string {
	version, all := "", allFamily
	if v4, v6 := versions(s); !v4 {
		version, all = scopeV6, allV6
	} else if !v6 {
		version, all = scopeV4, allV4
	}
	networks := n.scope(version, all)
	for _, x := range networks {
		if x.set.Len() == s.Len() && x.set.Equal(s) {
			return covered{names: []namedNetwork{x}}.text(version)
		}
	}
	if s.Len() > maxNameable {
		return PrefixWords(s)
	}
	best := cover(s, networks[1:], s.Len())
	for _, base := range networks {
		if best.cost() <= 2 { // an exception takes no fewer
			break
		}
		if base.set.Len() > maxNameable || !within(s, base.set) {
			continue
		}
		rest := cover(base.set.Minus(s), networks[1:], best.cost())
		if rest.base = &(covered{names: []namedNetwork{base}}); rest.cost() < best.cost() {
			best = rest
		}
	}
	if in, out := s.Short(); !out.IsZero() && best.cost() > 2 {
		base, rest := cover(in, networks[1:], best.cost()), cover(out, networks[1:], best.cost())
		if rest.base = &base; rest.cost() < best.cost() {
			best = rest
		}
	}
	return best.text(version)
}

// covered is a set in names and prefixes.
type covered struct {
	base  *covered // the set is this but for names and rest; nil if it is these
	names []namedNetwork
	rest  address.Set
}

// cost is how many words it has.
func (c covered) cost() int {
	n := len(c.names) + c.rest.Len()
	if c.base != nil {
		n += c.base.cost()
	}
	return n
}

// text is the set in words, with the IP version behind them if a name has more than that.
func (c covered) text(version string) string {
	if c.whole() {
		version = ""
	}
	return c.String() + version
}

func (c covered) whole() bool {
	return (c.base == nil || c.base.whole()) &&
		!slices.ContainsFunc(c.names, func(x namedNetwork) bool { return !x.whole })
}

func (c covered) String() string {
	var words []string
	for _, x := range c.names {
		words = append(words, x.name)
	}
	if !c.rest.IsZero() {
		words = append(words, PrefixWords(c.rest))
	}
	text := strings.Join(words, ", ")
	if c.base != nil {
		return c.base.String() + " except " + text
	}
	return text
}

// cover writes a set as the networks that it has all of, and the rest. It stops looking for names
// at a cost that is too high.
func cover(s address.Set, networks []namedNetwork, most int) (c covered) {
	c.rest = s
	for _, x := range networks {
		if c.rest.IsZero() || len(c.names) > most {
			break
		}
		if x.set.Len() > maxNameable || !within(x.set, s) {
			continue
		}
		if rest := c.rest.Minus(x.set); rest.Len() < c.rest.Len() {
			c.names, c.rest = append(c.names, x), rest
		}
	}
	return c
}

// within reports whether a set is in another one. Most aren't, and the first prefix tells.
func within(s, in address.Set) bool {
	for p := range s.All() {
		if !in.Covers(p) {
			return false
		}
		break
	}
	return s.Minus(in).IsZero()
}

// prefixWord is a prefix, a single address without its length.
func prefixWord(prefix string) string {
	if strings.Contains(prefix, ":") {
		return strings.TrimSuffix(prefix, "/128")
	}
	return strings.TrimSuffix(prefix, "/32")
}

// PrefixWords is a few prefixes, or how many there are.
func PrefixWords(s address.Set) string {
	list := s.FirstStrings(min(s.Len(), maxNamePrefixes))
	for i, p := range list {
		list[i] = prefixWord(p)
	}
	if s.Len() > maxNamePrefixes {
		return strings.Join(list[:maxNamePrefixes-1], ", ") + ", … (" + fmt.Sprint(s.Len()) +
			" in all)"
	}
	return strings.Join(list, ", ")
}

// nameSources names the sources of rows and findings.
func (a *auditor) nameSources() {
	n := NewNamer(a.Networks)
	for i := range a.report.Exposures {
		x := &a.report.Exposures[i]
		x.From = n.Words(x.Reachable.Possible)
		if !x.Reachable.Certain.Equal(x.Reachable.Possible) {
			x.Surely = n.Words(x.Reachable.Certain)
		}
		if x.Declared {
			x.AllowedFrom = n.Words(x.Allowed)
		}
	}
	for i := range a.report.Findings {
		if f := &a.report.Findings[i]; !f.Sources.IsZero() {
			f.From = n.Words(f.Sources)
		}
	}
}
