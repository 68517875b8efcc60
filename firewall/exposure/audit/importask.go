package audit

import (
	"cmp"
	"context"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// survey collects the evaluator's answers about everything that the rules distinguish.
type survey struct {
	*auditor
	options ImportOptions
	pool    *pool
	// lasting answers for when all elements that expire have expired; nil if none does.
	lasting *exposure.Evaluator
	// expiring are the look-ups of sets with elements that expire, and partly the evaluators of rules
	// in which some of these sets have lost them, by the numbers of the sets.
	expiring []expiringLookup
	// endingShare is the most elements that one answer looks at to find which of them end.
	endingShare int
	partlyLock  sync.Mutex
	partly      map[uint64]*exposure.Evaluator
	// barred are the sources that rules refuse only for a time, on some port.
	barred sources
	// groups are multicast and broadcast addresses that rules name.
	groups []netip.Addr
	// telling: a rule may distinguish broadcasts or multicast.
	telling  bool
	subjects []*subject
	// destinations are the single destinations that rules name; nil until needed.
	destinations map[netip.Addr]bool
	// mayRefuse are the rules that refuse sources which can't be known.
	mayRefuse sync.Map
	// rates are the rates of rules, by their line in a service.
	rates sync.Map
	// users are the rules that update a set, by the set's name.
	users sync.Map
	// tooManyPorts: the rules distinguish too many ports to ask about all of them.
	tooManyPorts bool
	// defaults are the profiles of most ports, by protocol and interface.
	defaults map[place]*profile
	// rejected and dropped count refusals, weighted by ports and sources.
	rejected, dropped float64
	// rejects and drops: rules other than Portgrave's do so.
	rejects, drops bool
	// assumed lists what answers take for granted of packets.
	assumed []string
}

// ask asks about all subjects, on all processors.
func (s *survey) ask(ctx context.Context) error {
	s.choose()
	s.endingShare = maxEndingWork / max(1, s.questions())
	next := make(chan *subject)
	var workers sync.WaitGroup
	var mu sync.Mutex // guards the pool, the tallies and failed
	var failed error
	for range cmp.Or(s.Workers, runtime.GOMAXPROCS(0)) {
		workers.Go(func() {
			for x := range next {
				if err := s.askAbout(x, &mu); err != nil {
					mu.Lock()
					failed = cmp.Or(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, x := range s.subjects {
		if ctx.Err() != nil {
			break
		}
		if x.like == nil {
			next <- x
		}
	}
	close(next)
	workers.Wait()
	for _, x := range s.subjects {
		if x.like != nil {
			x.profiles = x.like.profiles
		}
	}
	return cmp.Or(failed, ctx.Err())
}

// questions is how many answers there will be at most, except for groups and broadcasts: for each
// subject, interface and family one, and one for each of the host's addresses.
func (s *survey) questions() int {
	asked := 0
	for _, x := range s.subjects {
		if x.like == nil {
			asked++
		}
	}
	each := 0
	for _, f := range address.Families {
		each += 1 + len(s.addresses[f])
	}
	return asked * len(s.interfaces) * each
}

// askAbout asks about one subject by each interface.
func (s *survey) askAbout(x *subject, mu *sync.Mutex) error {
	for _, on := range s.interfaces {
		var spots []addressAnswer
		for _, f := range address.Families {
			if here := s.addressesBy(on, f); len(here) > 0 && x.Protocol.Of(f) {
				more, err := s.askFamily(x, on.Name, f, here, mu)
				if err != nil {
					return err
				}
				spots = append(spots, more...)
			}
		}
		spots, err := s.askBroadcasts(x, on.Name, spots, mu)
		if err != nil {
			return err
		}
		mu.Lock()
		x.profiles = append(x.profiles, s.profileOf(on, spots))
		mu.Unlock()
		if err := s.askSpread(x, on, spots, mu); err != nil {
			return err
		}
	}
	return nil
}

// addressesBy are the host's addresses that packets by an interface may be for. Link-local
// addresses belong to their interface only.
func (s *survey) addressesBy(on exposure.Interface, f address.Family) (out []netip.Addr) {
	for _, a := range s.addresses[f] {
		if !a.Is6() || !a.IsLinkLocalUnicast() || slices.ContainsFunc(on.Addresses,
			func(p netip.Prefix) bool { return p.Addr().WithZone("") == a }) {
			out = append(out, a)
		}
	}
	return out
}
