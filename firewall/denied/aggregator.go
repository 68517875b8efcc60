package denied

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"
)

// limits are the sizes of an aggregator. They bound its memory and its events.
type limits struct {
	// window is how long repetitions are gathered before they are reported.
	window time.Duration
	// keys is how many sources are told apart, over all ports together: those seen in this window and the last.
	// One service may take sourcesPerService of them, and one port sourcesPerPort, so that a flood of one does not
	// hide who else is refused.
	keys, sourcesPerService, sourcesPerPort int
	// ports is how many pairs of service and port are told apart, at most portsPerService of one service; services is
	// how many services are, beyond their ports.
	ports, portsPerService, services int
}

// examples is how many sources of a flood are named.
const examples = 4

var defaultLimits = limits{window: 10 * time.Second, keys: 2048, sourcesPerService: 256, sourcesPerPort: 64, ports: 512, portsPerService: 64, services: 64}

// events is how many events there can be between the ends of two windows, one of them included: the first packet of
// each key, its repetitions, and the floods of each port, each service and each action.
func (l limits) events() int { return 2*l.keys + l.ports + l.services + 2 }

// aggregator folds packets into events: the first of its kind at once, repetitions at the window's end, and everything
// that there is no room to tell apart into floods. It is pure: time comes from its caller, who owns it alone.
//
// Sources that go on stay known from one window to the next, so that they make one event a window; whoever was
// silent for a whole window is new again.
type aggregator struct {
	limits limits
	emit   func(Event)
	seed   maphash.Seed

	keys   map[key]*tally
	ports  map[portKey]*port
	shares map[portKey]*share
	end    time.Time // of the running window; zero when nothing is kept
}

// portKey is what a flood has in common. With coarse it is wider: one service, or one action.
type portKey struct {
	action   Action
	service  string
	protocol uint8
	port     uint16
	coarse   uint8 // 1: all ports of a service; 2: all services
}

func (pk portKey) ofService() portKey {
	return portKey{action: pk.action, service: pk.service, coarse: 1}
}

// key is what packets must have in common to count as repetitions.
type key struct {
	portKey
	source netip.Addr
}

// share is how much of the tables a service takes. There is one for each service of which a port is told apart.
type share struct{ sources, ports int }

// port is one port of a service: the sources that are told apart, and the flood of all others.
type port struct {
	sources  int
	flood    tally
	distinct *sketch // made with the first source that is not told apart
	examples []netip.Addr
}

func newAggregator(l limits, emit func(Event)) *aggregator {
	return &aggregator{limits: l, emit: emit, seed: maphash.MakeSeed(), keys: map[key]*tally{}, ports: map[portKey]*port{}, shares: map[portKey]*share{}}
}

// add takes one packet in. It allocates only for what it has not seen before.
func (a *aggregator) add(now time.Time, p *packet) {
	a.advance(now)
	if a.end.IsZero() {
		a.end = now.Add(a.limits.window)
	}
	k := key{portKey{action: p.action, service: p.service, protocol: p.protocol, port: p.port}, p.source}
	if t, known := a.keys[k]; known {
		t.add(p)
		return
	}
	pk, at := a.portOf(k.portKey)
	if pk.coarse == 0 && at.sources < a.limits.sourcesPerPort && len(a.keys) < a.limits.keys && a.shares[pk.ofService()].sources < a.limits.sourcesPerService {
		at.sources++
		a.shares[pk.ofService()].sources++
		a.keys[k] = &tally{}
		var first tally
		first.add(p)
		a.emit(first.event(pk, p.source))
		return
	}
	at.flood.add(p)
	if at.distinct == nil {
		at.distinct = new(sketch)
	}
	at.distinct.add(a.seed, p.source)
	if len(at.examples) < examples && !slices.Contains(at.examples, p.source) && p.source.IsValid() {
		at.examples = append(at.examples, p.source)
	}
}

// portOf finds the port's entry, or the narrowest coarser one that there is room for. The coarsest needs no
// room of its own: there are two actions.
func (a *aggregator) portOf(pk portKey) (portKey, *port) {
	if found, ok := a.ports[pk]; ok {
		return pk, found
	}
	service := pk.ofService()
	of := a.shares[service]
	switch {
	case len(a.ports) < a.limits.ports && (of == nil || of.ports < a.limits.portsPerService):
		if of == nil {
			of = &share{}
			a.shares[service] = of
		}
		of.ports++
	case a.ports[service] != nil || len(a.ports) < a.limits.ports+a.limits.services:
		pk = service
	default:
		pk = portKey{action: pk.action, coarse: 2}
	}
	if a.ports[pk] == nil {
		a.ports[pk] = &port{}
	}
	return pk, a.ports[pk]
}

// next is when advance should be called, if nothing arrives before; false means not at all.
func (a *aggregator) next() (time.Time, bool) { return a.end, !a.end.IsZero() }

// advance ends the window if its time has come.
func (a *aggregator) advance(now time.Time) {
	if a.end.IsZero() || now.Before(a.end) {
		return
	}
	a.flush()
	a.end = now.Add(a.limits.window)
	if len(a.keys) == 0 && len(a.ports) == 0 {
		a.end = time.Time{}
	}
}

// flush reports what was gathered, and forgets who was silent.
func (a *aggregator) flush() {
	var out []Event
	for k, t := range a.keys {
		if t.count == 0 {
			delete(a.keys, k)
			a.ports[k.portKey].sources--
			a.shares[k.ofService()].sources--
			continue
		}
		out = append(out, t.event(k.portKey, k.source))
		*t = tally{}
	}
	for pk, at := range a.ports {
		if at.flood.count > 0 {
			out = append(out, at.event(pk))
			// The examples went with the event.
			at.flood, at.examples = tally{}, nil
			clear(at.distinct[:])
		} else if at.sources == 0 {
			a.forget(pk)
		}
	}
	slices.SortFunc(out, func(x, y Event) int { return x.Time.Compare(y.Time) })
	for _, e := range out {
		a.emit(e)
	}
}

// forget gives a port's room back.
func (a *aggregator) forget(pk portKey) {
	delete(a.ports, pk)
	if pk.coarse > 0 {
		return
	}
	of := a.shares[pk.ofService()]
	if of.ports--; of.ports == 0 {
		delete(a.shares, pk.ofService())
	}
}

func (p *port) event(pk portKey) Event {
	e := p.flood.event(pk, netip.Addr{})
	e.Examples = p.examples
	// An estimate may not contradict what is known for sure.
	e.Sources = max(min(p.distinct.estimate(), e.Count), uint64(len(p.examples)), 1)
	return e
}
