package host

import (
	"os"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/host/lease"
	"github.com/portgrave/portgrave/firewall/host/usage"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// Sources of a service in force have the words of the policy that was applied.

// Named is how the policy in force writes a service. Its JSON is part of Service.
type Named struct {
	// From and Except are the entries of allow and except, the first of them if there are many.
	From   []Entries `json:"from"`
	Except []Entries `json:"except"`
	// FromCount and ExceptCount are how many there are.
	FromCount   int `json:"from_count"`
	ExceptCount int `json:"except_count"`
	// Lines are its other keys, and the networks that it names.
	Lines []policydiff.Line `json:"lines"`
	// LeaseIDs are the leases that open some of its ports.
	LeaseIDs []string `json:"leases"`
	// Usage is null where only the counters are known.
	Usage *usage.Usage `json:"usage"`
}

// Entries is one entry of allow or except.
type Entries struct {
	Entry   string    `json:"entry"`
	Expires time.Time `json:"expires,omitzero"`
	policydiff.Place
}

// Bounds on what status names, so that a thousand services with long lists are an answer that can
// be sent.
const (
	maxNamed    = 64 // entries of one list
	minNamed    = 4
	maxNamedAll = 8192 // entries of all lists
)

// namedPolicy is how the policy of a generation writes its services.
type namedPolicy struct {
	policy   string // history.Record.Policy
	services map[string]Named
}

// of reads the text of a generation's policy, unless it did so before.
func (p *namedPolicy) of(l *Local, g *history.Generation) map[string]Named {
	if g.Policy == "" {
		return nil
	}
	if p.policy == g.Policy {
		return p.services
	}
	text := l.textOf(l.view(), g)
	if text == nil {
		return nil
	}
	written := l.Written(text, nil)
	if written == nil {
		return nil
	}
	most := min(max(maxNamedAll/max(len(written.Services), 1), minNamed), maxNamed)
	services := make(map[string]Named, len(written.Services))
	for name, svc := range written.Services {
		services[name] = Named{
			From: entriesOf(svc.Allow, most), FromCount: len(svc.Allow),
			Except: entriesOf(svc.Except, most), ExceptCount: len(svc.Except),
			Lines: orEmpty(svc.Lines),
		}
	}
	*p = namedPolicy{g.Policy, services}
	return services
}

func entriesOf(list []policydiff.Entry, most int) []Entries {
	out := make([]Entries, 0, min(len(list), most))
	for _, e := range list[:min(len(list), most)] {
		out = append(out, Entries{e.String(), e.Expires, e.At})
	}
	return out
}

// unnamed is a service whose policy's text is unknown: its sources stand for themselves.
func unnamed(svc firewall.Service, now time.Time) Named {
	n := Named{Except: []Entries{}, Lines: []policydiff.Line{}, FromCount: svc.Sources.Len()}
	for _, s := range svc.Sources.FirstStrings(min(n.FromCount, minNamed)) {
		n.From = append(n.From, Entries{Entry: s})
	}
	for _, e := range svc.Expiring {
		if e.Until.After(now) {
			n.FromCount++
			if len(n.From) < maxNamed {
				n.From = append(n.From, Entries{Entry: e.Prefix.String(), Expires: e.Until})
			}
		}
	}
	n.From = orEmpty(n.From)
	return n
}

// writtenAs tells of a service in force how the policy writes it, and which leases are part of it.
func writtenAs(
	known map[string]Named, svc firewall.Service, leases []lease.Lease, now time.Time,
) Named {
	n, is := known[svc.Name]
	switch {
	case is:
	case slices.ContainsFunc(leases, func(x lease.Lease) bool { return opens(x, svc) }) &&
		svc.Sources.Equal(address.Set{}): // of a lease alone
		n = Named{From: []Entries{}, Except: []Entries{}, Lines: []policydiff.Line{}}
	default:
		n = unnamed(svc, now)
	}
	n.LeaseIDs = []string{}
	for _, x := range leases {
		if opens(x, svc) {
			n.LeaseIDs = append(n.LeaseIDs, x.ID)
		}
	}
	return n
}

// opens reports whether a lease is about a port of a service.
func opens(x lease.Lease, svc firewall.Service) bool {
	return slices.ContainsFunc(x.Ports, func(r firewall.PortRange) bool {
		return slices.ContainsFunc(svc.Ports, r.Overlaps)
	})
}

// used tells what the counters say since earlier looks, and keeps this one. What can't be kept is
// left out of the next answer.
func (l *Local) used(names []string, of func(string) (firewall.Traffic, bool),
) map[string]usage.Usage {
	counts := map[string]usage.Counts{}
	for _, name := range names {
		if t, counted := of(name); counted {
			counts[name] = usage.Counts{
				Allowed: firewall.Sum(t.Allowed).Packets, Refused: firewall.Sum(t.Refused).Packets,
			}
		}
	}
	if l.book == nil {
		l.book = &usage.Book{}
		if l.UsageFile != "" {
			l.book = usage.Read(l.UsageFile)
		}
	}
	out := l.book.Look(l.Clocks(), counts)
	if l.UsageFile != "" {
		_ = l.book.Write(l.UsageFile) // then the next answer has no rates
	}
	return out
}

// LookAtUsage keeps what the counters of some services are, so that later answers know when they
// rose.
func (l *Local) LookAtUsage(names []string, of func(string) (firewall.Traffic, bool)) {
	l.used(names, of)
}

// forgetUsage is for counters that are gone.
func (l *Local) forgetUsage() {
	l.book = &usage.Book{}
	if l.UsageFile != "" {
		_ = os.Remove(l.UsageFile) // else what stands there is forgotten at the next look
	}
}

// counted are the names that traffic is counted for under a State.
func counted(s firewall.State) (names []string) {
	for _, svc := range s.Services {
		names = append(names, svc.Name)
	}
	return append(names, firewall.OtherTraffic...)
}
