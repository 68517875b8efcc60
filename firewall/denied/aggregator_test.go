package denied

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/portgrave/portgrave/firewall"
	"pgregory.net/rapid"
)

var (
	epoch  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	second = time.Second
	equal  = cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}
)

// tcpPacket returns a refused packet to a port of a service, from 10.x.y.z.
func tcpPacket(at time.Time, service string, port uint16, source uint32) *packet {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|source)
	return &packet{time: at, action: Denied, service: service, iface: "eth0",
		hasHeader: true, headers: headers{
			source: netip.AddrFrom4(b), destination: netip.MustParseAddr("192.0.2.10"),
			protocol: uint8(firewall.TCP), sourcePort: 40000, port: port}}
}

// newRecordingAggregator returns an aggregator and the events that it emits.
func newRecordingAggregator(l limits) (*aggregator, *[]Event) {
	events := new([]Event)
	return newAggregator(l, func(e Event) { *events = append(*events, e) }), events
}

func TestFirstAtOnceThenOneEventAWindow(t *testing.T) {
	a, events := newRecordingAggregator(defaultLimits)
	for i := range 1000 {
		at := epoch.Add(time.Duration(i) * 5 * time.Millisecond)
		a.add(at, tcpPacket(at, "prometheus", 9090, 7))
		if len(*events) != 1 {
			t.Fatalf("%d events after %d packets, want the first at once and no other yet",
				len(*events), i+1)
		}
	}
	end, running := a.nextWindowEnd()
	if !running || !end.Equal(epoch.Add(10*second)) {
		t.Fatalf("the window ends at %v (%v), want ten seconds after its first packet",
			end, running)
	}
	a.advance(end)
	first := Event{Time: epoch, Last: epoch, Action: Denied, Service: "prometheus", Protocol: "tcp",
		Source: netip.MustParseAddr("10.0.0.7"), SourcePort: 40000,
		Destination: netip.MustParseAddr("192.0.2.10"), Port: 9090, Interface: "eth0", Count: 1}
	rest := first
	rest.Time, rest.Last, rest.Count = epoch.Add(5*time.Millisecond),
		epoch.Add(999*5*time.Millisecond), 999
	if diff := cmp.Diff([]Event{first, rest}, *events, equal); diff != "" {
		t.Error(diff)
	}

	// A source that continues makes one event a window, without another first event.
	at := end.Add(second)
	a.add(at, tcpPacket(at, "prometheus", 9090, 7))
	end, _ = a.nextWindowEnd()
	a.advance(end)
	if len(*events) != 3 || (*events)[2].Count != 1 {
		t.Errorf("a source that went on: %+v", (*events)[2:])
	}
	// After a silent window nothing is tracked, so there is no deadline, and the source is new
	// again.
	end, _ = a.nextWindowEnd()
	a.advance(end)
	if len(a.keys) != 0 {
		t.Errorf("%d keys after a silent window", len(a.keys))
	}
	end, _ = a.nextWindowEnd()
	a.advance(end)
	if _, running := a.nextWindowEnd(); running || len(a.ports) != 0 {
		t.Errorf("an idle aggregator has a window and %d ports", len(a.ports))
	}
	a.add(end.Add(second), tcpPacket(end, "prometheus", 9090, 7))
	if len(*events) != 4 {
		t.Errorf("a returning source was not reported at once")
	}
}

func TestFloodIsOneLine(t *testing.T) {
	a, events := newRecordingAggregator(defaultLimits)
	const sources = 200_000
	for i := range sources {
		a.add(epoch, tcpPacket(epoch, "prometheus", 9090, uint32(i)))
	}
	// Another port's source is still reported at once.
	a.add(epoch, tcpPacket(epoch, "ssh", 22, 1))
	if last := (*events)[len(*events)-1]; last.Service != "ssh" || last.Count != 1 {
		t.Errorf("a source of another port drowned: %+v", last)
	}
	a.flush()
	var floods []Event
	total := uint64(0)
	for _, e := range *events {
		total += e.Count
		if e.Sources > 0 {
			floods = append(floods, e)
		}
	}
	if total != sources+1 || len(floods) != 1 || len(*events) != defaultLimits.sourcesPerPort+2 {
		t.Fatalf("%d events, %d of them floods, over %d packets", len(*events), len(floods), total)
	}
	f := floods[0]
	if f.Source.IsValid() || f.Port != 9090 || f.Protocol != "tcp" || f.Service != "prometheus" ||
		len(f.Examples) != maxExamples {
		t.Errorf("%+v", f)
	}
	if got := float64(f.Sources) / sources; math.Abs(got-1) > 0.2 {
		t.Errorf("%d sources estimated as %d", sources, f.Sources)
	}
}

// A flood over all ports of one service leaves room for other services, and their ports are
// tracked.
func TestFloodDoesNotHideOtherServices(t *testing.T) {
	a, events := newRecordingAggregator(defaultLimits)
	for i := range 100_000 {
		a.add(epoch, tcpPacket(epoch, firewall.LogLabelUnlisted, uint16(i), uint32(i)))
	}
	noise := len(*events)
	for i := range 40 {
		a.add(epoch, tcpPacket(epoch, "ssh", uint16(22+i), uint32(i)))
	}
	if got := len(*events) - noise; got != 40 {
		t.Errorf("%d of 40 packets for another service were reported at once", got)
	}
	a.flush()
	if noise > defaultLimits.sourcesPerService ||
		len(*events) > noise+40+defaultLimits.portsPerService+1 {
		t.Errorf("%d events at once, %d in all", noise, len(*events))
	}
	var wide Event
	for _, e := range *events {
		if e.Sources > 0 && e.Port == 0 {
			wide = e
		}
	}
	if wide.Service != firewall.LogLabelUnlisted || wide.Protocol != "" || wide.Count < 90_000 {
		t.Errorf("the flood of the service: %+v", wide)
	}
}

// Fields in which the packets of an event differ stay empty.
func TestDifferingFieldsAreEmpty(t *testing.T) {
	a, events := newRecordingAggregator(defaultLimits)
	for i := range 4 {
		p := tcpPacket(epoch, "prometheus", 9090, 7)
		if i == 2 {
			p.sourcePort, p.destination, p.iface = 40001, netip.MustParseAddr("192.0.2.11"), "eth1"
		}
		a.add(epoch, p)
	}
	a.flush()
	if e := (*events)[1]; e.Count != 3 || e.SourcePort != 0 || e.Destination.IsValid() ||
		e.Interface != "" || !e.Source.IsValid() {
		t.Errorf("%+v", e)
	}
}

func TestICMPAndUnreadablePackets(t *testing.T) {
	a, events := newRecordingAggregator(defaultLimits)
	ping := tcpPacket(epoch, firewall.LogLabelUnlisted, 8<<8, 7)
	ping.protocol, ping.sourcePort = protocolICMP, 0
	a.add(epoch, ping)
	a.add(epoch, &packet{time: epoch, action: Denied, service: "odd"})
	if e := (*events)[0]; e.ICMP == nil || *e.ICMP != (ICMP{8, 0}) || e.Port != 0 ||
		e.Protocol != "icmp" {
		t.Errorf("%+v", e)
	}
	if diff := cmp.Diff(Event{Time: epoch, Last: epoch, Action: Denied, Service: "odd", Count: 1},
		(*events)[1], equal); diff != "" {
		t.Error(diff)
	}
}

// For any packets: each is in exactly one event, and tables and events stay within their bounds.
func TestAggregatorProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := limits{window: 10 * second, keys: rapid.IntRange(0, 6).Draw(t, "keys"),
			sourcesPerService: rapid.IntRange(0, 4).Draw(t, "per service"),
			sourcesPerPort:    rapid.IntRange(0, 3).Draw(t, "per port"),
			ports:             rapid.IntRange(0, 4).Draw(t, "ports"),
			portsPerService:   rapid.IntRange(1, 3).Draw(t, "ports per service"),
			services:          rapid.IntRange(0, 2).Draw(t, "services")}
		var events []Event
		inWindow := 0
		a := newAggregator(l, func(e Event) { events, inWindow = append(events, e), inWindow+1 })
		type pair struct {
			action  Action
			service string
		}
		in, out := map[pair]uint64{}, map[pair]uint64{}
		bySource, reported := map[netip.Addr]uint64{}, map[netip.Addr]uint64{}
		now := epoch
		check := func() {
			if len(a.keys) > l.keys || len(a.ports) > l.ports+l.services+2 {
				t.Fatalf("%d keys and %d ports are kept, over the bounds of %+v",
					len(a.keys), len(a.ports), l)
			}
			shares := map[portKey]serviceUsage{}
			for pk := range a.ports {
				if pk.scope == 0 {
					of := shares[pk.wholeService()]
					of.ports++
					shares[pk.wholeService()] = of
				}
			}
			for k := range a.keys {
				of := shares[k.wholeService()]
				of.sources++
				shares[k.wholeService()] = of
			}
			for service, of := range shares {
				if of.sources > l.sourcesPerService || of.ports > l.portsPerService ||
					a.services[service] == nil || *a.services[service] != of {
					t.Fatalf("%s takes %+v, booked as %+v, under %+v",
						service.service, of, a.services[service], l)
				}
			}
			if len(shares) != len(a.services) {
				t.Fatalf("%d services are kept, %d have ports", len(a.services), len(shares))
			}
			if inWindow > l.events() {
				t.Fatalf("%d events in a window, more than %d", inWindow, l.events())
			}
		}
		for range rapid.IntRange(0, 200).Draw(t, "packets") {
			if rapid.IntRange(0, 9).Draw(t, "pause") == 0 {
				now = now.Add(time.Duration(rapid.IntRange(0, 25).Draw(t, "seconds")) * second)
				end, running := a.nextWindowEnd()
				a.advance(now)
				check()
				if running && !now.Before(end) {
					inWindow = 0
				}
			}
			p := tcpPacket(now, rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "service"),
				uint16(rapid.IntRange(1, 4).Draw(t, "port")),
				uint32(rapid.IntRange(0, 9).Draw(t, "source")))
			p.action = rapid.SampledFrom([]Action{Denied, Allowed}).Draw(t, "action")
			in[pair{p.action, p.service}]++
			in[pair{p.action, ""}]++
			bySource[p.source]++
			before := len(events)
			a.add(now, p)
			check()
			if len(events)-before > 1 || len(events) > before && events[before].Count != 1 {
				t.Fatal("a packet inside a window made more than its own event")
			}
		}
		a.flush()
		check()
		for _, e := range events {
			switch {
			case e.Count == 0, e.Last.Before(e.Time):
				t.Fatalf("%+v", e)
			case e.Sources > 0 &&
				(e.Source.IsValid() || e.Sources > e.Count || len(e.Examples) == 0 ||
					uint64(len(e.Examples)) > e.Sources):
				t.Fatalf("a flood contradicts itself: %+v", e)
			case e.Sources == 0:
				reported[e.Source] += e.Count
			}
			if e.Service != "" {
				out[pair{e.Action, e.Service}] += e.Count
			}
			out[pair{e.Action, ""}] += e.Count
		}
		for k, n := range in {
			if k.service == "" && out[k] != n {
				t.Fatalf("%d packets %s, %d in events", n, k.action, out[k])
			}
			if out[k] > n {
				t.Fatalf("%s: %d packets %s, %d in events", k.service, n, k.action, out[k])
			}
		}
		for source, n := range reported {
			if n > bySource[source] {
				t.Fatalf("%s sent %d packets, %d in events", source, bySource[source], n)
			}
		}
	})
}

func TestSketch(t *testing.T) {
	for _, n := range []int{0, 1, 5, 64, 1000, 5000, 100_000, 1_000_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			a, _ := newRecordingAggregator(defaultLimits)
			var s sketch
			for i := range n {
				p := tcpPacket(epoch, "x", 1, uint32(i))
				s.add(a.seed, p.source)
				s.add(a.seed, p.source) // repetitions must not change the estimate
			}
			// Allow six standard errors, since the seed is random.
			if got := s.estimate(); math.Abs(float64(got)-float64(n)) > 0.2*float64(n)+0.5 {
				t.Errorf("%d sources estimated as %d", n, got)
			}
		})
	}
}
