// Package policydiff says what leads from one State to another in the words of policies: which
// services are opened, closed and changed, for which networks, as they are written.
//
// It is pure. A State has addresses and no names; the names come from Written, which the reader of
// policies makes. Who knows none gets prefixes. Answers are bounded: long lists of sources are
// counted.
//
//	Side (State, Written, leases) ─┐
//	                               ├─ Between ─▶ []Change
//	Side                          ─┘
//	differences of kernel objects ── Restored ─▶ []Change
package policydiff

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Action is what becomes of a service.
type Action string

const (
	Add    Action = "add"
	Remove Action = "remove"
	Modify Action = "change"
)

// Change is what becomes of one service. The JSON shape is a contract.
type Change struct {
	Service  string    `json:"service"` // "" for what holds for all of them
	Action   Action    `json:"action"`
	Ports    []string  `json:"ports"` // as they are written, "tcp/9000-9100"
	Opens    []Opening `json:"opens"`
	Closes   []Opening `json:"closes"`
	Settings []Setting `json:"settings"`
}

// Opening is an entry of allow whose sources may get in from now on, or no longer.
type Opening struct {
	Network string `json:"network"` // "" where sources are written as addresses or CIDRs
	// Entry is the address or CIDR as it is written, where an entry without a name comes or goes.
	Entry string `json:"entry,omitempty"`
	// Sources are those that gain or lose access; empty if there are too many, see Count.
	Sources []string `json:"sources"`
	Count   int      `json:"count"` // how many prefixes they are
	// Part: both policies allow Network, and only Sources of it change.
	Part bool `json:"part,omitempty"`
	// Except are entries through which a part of a closed Network still gets in.
	Except []string `json:"except,omitempty"`
	// Expires is when the opening ends by itself; zero if it doesn't.
	Expires time.Time `json:"expires,omitzero"`
	// Lease: it was opened by command. Ports are those that it opens, if not all of the service.
	Lease bool     `json:"lease,omitempty"`
	Ports []string `json:"ports,omitempty"`
}

// Setting is a key of the policy that changes. A side without a value is "".
type Setting struct {
	Key  string `json:"key"`
	From string `json:"from"`
	To   string `json:"to"`
	// Source is what the key is about if it is about one entry: the end of 192.0.2.0/28.
	Source string `json:"source,omitempty"`
}

// Keys of settings that no policy has.
const (
	// KeyRules stands for kernel objects that differ from what was applied.
	KeyRules = "rules"
	// KeyOwner is which services list the ports of a removed one from now on.
	KeyOwner = "service"
)

// Written is how a policy writes its services.
type Written struct {
	Services map[string]Service
	// Networks is what networks hold, as far as it is known.
	Networks map[string]address.Set
}

// Service is how a policy writes one service.
type Service struct {
	Ports         []string
	Allow, Except []Entry
	// Lines are its keys but allow and except, and the networks that those name.
	Lines []Line
}

// Line is a key of a service, or a network that the service names, as it is written.
type Line struct {
	Key  string `json:"key"`
	Text string `json:"text"`
	Place
}

// Place is where a policy has something. Line counts from 1; 0 is unknown.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// Entry is one entry of allow or except: a prefix, or the name of a network.
type Entry struct {
	Network string
	Prefix  netip.Prefix // invalid if Network is set
	Expires time.Time    // zero: never
	At      Place
}

// String is the entry as it is written.
func (e Entry) String() string {
	if e.Network != "" {
		return e.Network
	}
	return source(e.Prefix)
}

func source(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// Side is one of two things that are compared.
type Side struct {
	State   firewall.State // without leases
	Written *Written       // nil: unknown
	Leases  []Lease
}

// Lease is a source that a lease lets in.
type Lease struct {
	Service string // of the State, or a name of its own
	Ports   []firewall.PortRange
	Source  firewall.ExpiringSource
}

// Bounds on an answer, unless all is asked for: a person reads no more, and a million sources are
// 20 MB of text.
const (
	maxSources    = 64    // of an opening
	maxSourcesAll = 4_096 // of an answer
	// maxWholly bounds an answer that was asked to list everything.
	maxWholly = 100_000
)

// lister writes sources out as long as there is room.
type lister struct{ each, left int }

func newLister(wholly bool) *lister {
	if wholly {
		return &lister{maxWholly, maxWholly}
	}
	return &lister{maxSources, maxSourcesAll}
}

func (l *lister) opening(network string, sources address.Set) Opening {
	o := Opening{Network: network, Count: sources.Len()}
	if o.Count <= l.each && o.Count <= l.left {
		o.Sources = make([]string, 0, o.Count)
		for p := range sources.All() {
			o.Sources = append(o.Sources, p.String())
		}
		l.left -= o.Count
	}
	return o
}

// filled has an empty list wherever a list of a change is nil, as JSON has it.
func filled(changes []Change) []Change {
	for i := range changes {
		c := &changes[i]
		c.Ports, c.Settings = orEmpty(c.Ports), orEmpty(c.Settings)
		c.Opens, c.Closes = orEmpty(c.Opens), orEmpty(c.Closes)
		for _, list := range [][]Opening{c.Opens, c.Closes} {
			for n := range list {
				list[n].Sources = orEmpty(list[n].Sources)
			}
		}
	}
	return orEmpty(changes)
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
