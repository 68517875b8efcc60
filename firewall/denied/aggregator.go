package denied

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"
)

// limits bound the memory and the events of an aggregator.
type limits struct {
	// window is the period over which repetitions are counted.
	window time.Duration
	// keys bounds the tracked sources over all ports, in this window and the last.
	// sourcesPerService and sourcesPerPort bound them for one service and one port, so that a flood
	// of one does not hide the sources of others.
	keys, sourcesPerService, sourcesPerPort int
	// ports bounds the tracked pairs of service and port, portsPerService those of one service.
	// services bounds the tracked services without their ports.
	ports, portsPerService, services int
}

// maxExamples bounds the sources that a flood names.
const maxExamples = 4

var defaultLimits = limits{
	window:            10 * time.Second,
	keys:              2048,
	sourcesPerService: 256,
	sourcesPerPort:    64,
	ports:             512,
	portsPerService:   64,
	services:          64,
}

// events bounds the events from the end of one window to the end of the next: for each key the
// first packet and its repetitions, and the floods of each port, service and action.
func (l limits) events() int { return 2*l.keys + l.ports + l.services + 2 }

// aggregator turns packets into events: the first of its kind at once, repetitions at the end of
// the window, and packets that exceed the limits as floods. It is pure: the caller passes the time.
// It must not be used concurrently.
//
// A source that continues stays tracked in the next window and makes one event a window. A source
// that was silent for a whole window is new again.
type aggregator struct {
	limits limits
	emit   func(Event)
	seed   maphash.Seed

	keys      map[key]*tally
	ports     map[portKey]*port
	services  map[portKey]*serviceUsage
	windowEnd time.Time // zero if nothing is tracked
}

// scope is what the packets of a portKey have in common.
type scope uint8

const (
	onePort     scope = iota // action, service, protocol and port
	oneService               // action and service
	allServices              // action
)

// portKey identifies a port of a service. A wider scope leaves its other fields zero.
type portKey struct {
	action   Action
	service  string
	protocol uint8
	port     uint16
	scope    scope
}

func (pk portKey) wholeService() portKey {
	return portKey{action: pk.action, service: pk.service, scope: oneService}
}

// key identifies the packets that count as repetitions.
type key struct {
	portKey
	source netip.Addr
}

// serviceUsage counts the tracked sources and ports of a service. A service without tracked ports
// has none.
type serviceUsage struct{ sources, ports int }

// port has the counts of a portKey: of its tracked sources, and the flood of all others.
type port struct {
	sources  int
	flood    tally
	distinct *sketch // nil until the first source is not tracked
	examples []netip.Addr
}

func newAggregator(l limits, emit func(Event)) *aggregator {
	return &aggregator{
		limits:   l,
		emit:     emit,
		seed:     maphash.MakeSeed(),
		keys:     map[key]*tally{},
		ports:    map[portKey]*port{},
		services: map[portKey]*serviceUsage{},
	}
}

// add counts one packet. It allocates only for new keys.
func (a *aggregator) add(now time.Time, p *packet) {
	a.advance(now)
	if a.windowEnd.IsZero() {
		a.windowEnd = now.Add(a.limits.window)
	}
	k := key{portKey{action: p.action, service: p.service, protocol: p.protocol, port: p.port},
		p.source}
	if t, known := a.keys[k]; known {
		t.add(p)
		return
	}
	pk, at := a.portOf(k.portKey)
	if pk.scope == onePort && at.sources < a.limits.sourcesPerPort &&
		len(a.keys) < a.limits.keys &&
		a.services[pk.wholeService()].sources < a.limits.sourcesPerService {
		at.sources++
		a.services[pk.wholeService()].sources++
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
	if len(at.examples) < maxExamples && !slices.Contains(at.examples, p.source) &&
		p.source.IsValid() {
		at.examples = append(at.examples, p.source)
	}
}

// portOf returns the entry of a port, or the narrowest wider one within the limits. allServices has
// no limit, because there are only two actions.
func (a *aggregator) portOf(pk portKey) (portKey, *port) {
	if found, ok := a.ports[pk]; ok {
		return pk, found
	}
	service := pk.wholeService()
	usage := a.services[service]
	switch {
	case len(a.ports) < a.limits.ports &&
		(usage == nil || usage.ports < a.limits.portsPerService):
		if usage == nil {
			usage = &serviceUsage{}
			a.services[service] = usage
		}
		usage.ports++
	case a.ports[service] != nil || len(a.ports) < a.limits.ports+a.limits.services:
		pk = service
	default:
		pk = portKey{action: pk.action, scope: allServices}
	}
	if a.ports[pk] == nil {
		a.ports[pk] = &port{}
	}
	return pk, a.ports[pk]
}

// nextWindowEnd returns when to call advance; false if it need not be called.
func (a *aggregator) nextWindowEnd() (time.Time, bool) { return a.windowEnd, !a.windowEnd.IsZero() }

// advance ends the window if it is over.
func (a *aggregator) advance(now time.Time) {
	if a.windowEnd.IsZero() || now.Before(a.windowEnd) {
		return
	}
	a.flush()
	a.windowEnd = now.Add(a.limits.window)
	if len(a.keys) == 0 && len(a.ports) == 0 {
		a.windowEnd = time.Time{}
	}
}

// flush emits the events of the window and forgets silent sources.
func (a *aggregator) flush() {
	var out []Event
	for k, t := range a.keys {
		if t.count == 0 {
			delete(a.keys, k)
			a.ports[k.portKey].sources--
			a.services[k.wholeService()].sources--
			continue
		}
		out = append(out, t.event(k.portKey, k.source))
		*t = tally{}
	}
	for pk, at := range a.ports {
		if at.flood.count > 0 {
			out = append(out, at.event(pk))
			// The event now owns the examples.
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

// forget releases a port.
func (a *aggregator) forget(pk portKey) {
	delete(a.ports, pk)
	if pk.scope != onePort {
		return
	}
	usage := a.services[pk.wholeService()]
	if usage.ports--; usage.ports == 0 {
		delete(a.services, pk.wholeService())
	}
}

func (p *port) event(pk portKey) Event {
	e := p.flood.event(pk, netip.Addr{})
	e.Examples = p.examples
	// The estimate must not contradict the counts.
	e.Sources = max(min(p.distinct.estimate(), e.Count), uint64(len(p.examples)), 1)
	return e
}
