package audit

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Change is who gains and who loses access to a port when a host's rules are replaced.
type Change struct {
	Protocol string
	Port     uint16
	PortLast uint16 // for a published range
	// Addresses are those that the port is bound to or published at, if it isn't at all of the
	// host's, or those that it is about, if it is about some. Interfaces are those that it is
	// about; none: all.
	Addresses, Interfaces []string
	Process, Container    string
	Target                string // for a published port: where its packets go
	Direct                bool   // the target, reached directly
	// Gains and Loses are certain. MayGain and MayLose are the sources of which one of the two
	// rulesets leaves undecided whether they get through, and the other doesn't.
	Gains, Loses, MayGain, MayLose address.Set
	// Stopped are the sources that the policy begins to allow and that something else stops; nil if
	// there are none.
	Stopped *Stopped

	apart bool // the addresses are some of those of one port
}

// Compared is the result of Compare.
type Compared struct {
	Changes []Change // by port
	// Unread lists what couldn't be read, so that changes may be missing.
	Unread []string
}

// Compare audits a host twice, as in has it and with other rules and another policy, and compares
// who reaches what. The two audits keep long lists once. only tells of which ports who reaches them
// may differ; nil: of any.
func Compare(
	ctx context.Context,
	in Input,
	rules *exposure.Ruleset,
	policy *firewall.State,
	only func(firewall.PortRange) bool,
) (Compared, error) {
	sets := &shared{}
	in.Prober, in.Written, in.Wants = nil, nil, nil
	first := newAuditor(in, sets)
	first.compares, first.only = true, only
	before, err := first.run(ctx)
	if err != nil {
		return Compared{}, err
	}
	in.Rules, in.Policy = rules, policy
	second := newAuditor(in, sets)
	second.compares, second.only = true, only
	after, err := second.run(ctx)
	if err != nil {
		return Compared{}, err
	}
	c := comparison{unroutable: second.unroutable, outside: map[string]int{}}
	for _, a := range []*auditor{first, second} {
		for _, i := range a.outside() {
			c.outside[i.Name]++
		}
	}
	return Compared{c.changes(before.Exposures, after.Exposures), after.Unread}, nil
}

// comparison compares rows.
type comparison struct {
	unroutable sources
	// outside counts, for each interface, in how many of both audits it leads outside.
	outside map[string]int
	// last is the last pair of sets that were compared: most rows have the same few.
	last struct {
		before, after Bounds
		is            Change
	}
}

// rowPlace is where rows of both audits are about the same packets.
type rowPlace struct {
	protocol           string
	port, portLast     uint16
	iface              string
	bound              string // the socket's address
	pid                int
	process, container string
	direct             bool
}

func rowPlaceOf(x Exposure) rowPlace {
	return rowPlace{
		x.Protocol, x.Port, x.PortLast, x.Interface, x.bound, x.PID, x.Process, x.Container, x.Direct,
	}
}

// changes compares the rows of two audits.
func (c *comparison) changes(before, after []Exposure) (out []Change) {
	rows := map[rowPlace][2][]Exposure{}
	var order []rowPlace
	for n, list := range [][]Exposure{before, after} {
		for _, x := range list {
			if x.Interface == "" {
				continue // nothing listens there
			}
			at := rowPlaceOf(x)
			pair, known := rows[at]
			if !known {
				order = append(order, at)
			}
			pair[n] = append(pair[n], x)
			rows[at] = pair
		}
	}
	var all []Change // one for each address and interface
	for _, at := range order {
		all = append(all, c.at(rows[at][0], rows[at][1])...)
	}
	return joinedChanges(all)
}

// at compares the rows of a place, address by address.
func (c *comparison) at(before, after []Exposure) (out []Change) {
	var addresses []string
	for _, list := range [][]Exposure{before, after} {
		for _, x := range list {
			for _, a := range x.dialledAt() {
				if !slices.Contains(addresses, a) {
					addresses = append(addresses, a)
				}
			}
		}
	}
	for _, a := range addresses {
		was, n := rowAt(before, a)
		is, m := rowAt(after, a)
		if (n < 0 || m < 0) && isAny(a) && len(addresses) > 1 {
			continue // the other audit has a row for each address
		}
		x := is
		if m < 0 {
			x = was
		}
		if x.Direct && c.outside[x.Interface] < 2 {
			continue // one of the audits didn't ask
		}
		change := c.compare(was.Reachable, is.Reachable)
		change.Protocol, change.Port, change.PortLast = x.Protocol, x.Port, x.PortLast
		change.Process, change.Container = x.Process, x.Container
		change.Target, change.Direct = x.Target, x.Direct
		change.Addresses, change.Interfaces = []string{a}, []string{x.Interface}
		change.Stopped, change.apart = c.begins(was, is), len(x.Addresses) > 0
		out = append(out, change)
	}
	return out
}

// dialledAt are the addresses that a row is about; one that stands for all where it names none.
func (x *Exposure) dialledAt() []string {
	if len(x.Addresses) > 0 {
		return x.Addresses
	}
	return []string{x.Address}
}

// isAny reports whether a row's address stands for all addresses.
func isAny(address string) bool {
	a, err := netip.ParseAddr(address)
	return err != nil || a.IsUnspecified()
}

// rowAt is the row about an address, among rows of one place; −1 if there is none.
func rowAt(rows []Exposure, address string) (Exposure, int) {
	any := -1
	for i, x := range rows {
		if slices.Contains(x.dialledAt(), address) {
			return x, i
		}
		if len(x.Addresses) == 0 && isAny(x.Address) {
			any = i
		}
	}
	if any < 0 {
		return Exposure{}, -1
	}
	return rows[any], any
}

// compare compares the sources of two rows.
func (c *comparison) compare(before, after Bounds) Change {
	if same(c.last.before, before) && same(c.last.after, after) {
		return c.last.is
	}
	var out Change
	if !before.Certain.Equal(after.Certain) || !before.Possible.Equal(after.Possible) {
		s := func(p address.Set) sources { return sourcesOf(p, address.Families...) }
		wasCertain, wasPossible := s(before.Certain), s(before.Possible)
		isCertain, isPossible := s(after.Certain), s(after.Possible)
		gains, loses := isCertain.minus(wasPossible), wasCertain.minus(isPossible)
		out = Change{
			Gains: c.written(gains),
			Loses: c.written(loses),
			MayGain: c.written(isPossible.minus(wasPossible).
				union(isCertain.minus(wasCertain)).minus(gains)),
			MayLose: c.written(wasPossible.minus(isPossible).
				union(wasCertain.minus(isCertain)).minus(loses)),
		}
	}
	c.last.before, c.last.after, c.last.is = before, after, out
	return out
}

// same reports whether two bounds are the same memory, or short and equal.
func same(a, b Bounds) bool {
	return a.Certain.Len()+a.Possible.Len() == b.Certain.Len()+b.Possible.Len() &&
		a.Certain.Equal(b.Certain) && a.Possible.Equal(b.Possible)
}

// written is sources as prefixes, without those that no client can have; these fill gaps where that
// takes fewer prefixes.
func (c *comparison) written(s sources) address.Set {
	if s.minus(c.unroutable).empty() {
		return address.Set{}
	}
	return s.simplest(c.unroutable)
}

// begins are the sources that the policy begins to allow, as far as something else stops them.
func (c *comparison) begins(was, is Exposure) *Stopped {
	if is.Stopped == nil {
		return nil
	}
	sources := is.Stopped.Sources.Minus(was.Allowed)
	if sources.Len() == 0 {
		return nil
	}
	return &Stopped{sources, is.Stopped.By, is.Stopped.Owners}
}

// nothing reports whether a change is none.
func (x *Change) nothing() bool {
	return x.Gains.Len()+x.Loses.Len()+x.MayGain.Len()+x.MayLose.Len() == 0 && x.Stopped == nil
}

// joinedChanges joins changes of a port that are the same at several addresses, and then those by
// several interfaces that are about the same addresses.
func joinedChanges(all []Change) []Change {
	addresses, interfaces := map[portOfChange][]string{}, map[portOfChange][]string{}
	for _, x := range all {
		k := x.port()
		addresses[k] = appendNew(addresses[k], x.Addresses)
		interfaces[k] = appendNew(interfaces[k], x.Interfaces)
	}
	all = slices.DeleteFunc(all, func(x Change) bool { return x.nothing() })
	all = joinedBy(all, func(a, b Change) bool { return slices.Equal(a.Interfaces, b.Interfaces) })
	all = joinedBy(all, func(a, b Change) bool { return slices.Equal(a.Addresses, b.Addresses) })
	for i := range all {
		x := &all[i]
		if k := x.port(); len(x.Interfaces) == len(interfaces[k]) {
			x.Interfaces = nil
		}
		if whole := len(x.Addresses) == len(addresses[x.port()]); whole && x.apart ||
			slices.ContainsFunc(x.Addresses, isAny) {
			x.Addresses = nil
		}
	}
	slices.SortStableFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.Protocol, b.Protocol))
	})
	return all
}

// joinedBy joins like changes of a port for which a condition holds.
func joinedBy(all []Change, may func(a, b Change) bool) (out []Change) {
	joined := map[portOfChange][]int{} // indexes in out
	for _, x := range all {
		k := x.port()
		n := slices.IndexFunc(joined[k], func(i int) bool { return out[i].like(x) && may(out[i], x) })
		if n < 0 {
			joined[k] = append(joined[k], len(out))
			out = append(out, x)
			continue
		}
		y := &out[joined[k][n]]
		y.Addresses = appendNew(y.Addresses, x.Addresses)
		y.Interfaces = appendNew(y.Interfaces, x.Interfaces)
		if y.Stopped != nil && x.Stopped != nil {
			y.Stopped = &Stopped{
				y.Stopped.Sources.Union(x.Stopped.Sources), y.Stopped.By, y.Stopped.Owners,
			}
		}
	}
	return out
}

// portOfChange is what changes have in common that may be joined.
type portOfChange struct {
	protocol           string
	first, last        uint16
	process, container string
	target             string
	direct             bool
}

func (x *Change) port() portOfChange {
	return portOfChange{
		x.Protocol, x.Port, x.PortLast, x.Process, x.Container, x.Target, x.Direct,
	}
}

// like reports whether the same sources gain and lose. Those that something stops differ between
// interfaces by the networks that are behind others.
func (x *Change) like(o Change) bool {
	if (x.Stopped == nil) != (o.Stopped == nil) ||
		x.Stopped != nil && !slices.Equal(x.Stopped.By, o.Stopped.By) {
		return false
	}
	return x.Gains.Equal(o.Gains) && x.Loses.Equal(o.Loses) &&
		x.MayGain.Equal(o.MayGain) && x.MayLose.Equal(o.MayLose)
}

func appendNew(list, more []string) []string {
	list = slices.Clip(list)
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
