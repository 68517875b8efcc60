package e2e

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/test/lab"
)

var seedFlag = flag.Uint64(
	"seed",
	0,
	"seed of the random States, to repeat a failure; 0: another one each time",
)

// What a series of States costs: each is applied, and probed by some thousands of packets, on every
// engine.
const (
	seriesStates = 12
	leastOfKind  = 500 // answers of one kind in a series, below which it proves little
)

// Random States, applied one after the other to the same host, decide about packets as State.Decide
// says, on every engine: so all engines agree. A second apply changes nothing, and without any
// State everything is open again.
func TestEnginesDecideAsTheState(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	now := time.Now()
	d := drawing{rand.New(rand.NewPCG(seed, 0)), now}
	var states []firewall.State
	var asked [][]flow
	for len(states) < seriesStates {
		var s firewall.State
		if n := len(states); n > 0 && d.IntN(3) > 0 {
			s = d.changed(states[n-1])
		} else {
			s = d.state()
		}
		states, asked = append(states, s), append(asked, d.flows(s))
	}
	onEveryBackend(t, func(t *testing.T, e engine) { testConformance(t, e, states, asked, now) })
}

func testConformance(
	t *testing.T,
	e engine,
	states []firewall.State,
	asked [][]flow,
	now time.Time,
) {
	w := newWorld(t, e)
	w.serve(listening...)
	w.servePortless()
	w.Container.ListenTCP(80)
	w.Container.ListenUDP(80)
	w.Publish("tcp", published, 80)
	w.Publish("udp", published, 80)
	for p := range containerRegion.All() {
		w.AddSources(w.Container, p)
	}
	count := map[firewall.Verdict]int{}
	nothing := firewall.State{Unlisted: firewall.UnlistedIgnore, Refuse: firewall.RefuseDrop}
	w.judge("the control", nothing, asked[0], now, map[firewall.Verdict]int{})
	for i, s := range states {
		w.applyState(&s)
		out := w.applyState(&s)
		if !out.Plan.InSync() {
			t.Errorf("state %d: the second apply changed %v", i, out.Plan.Changes)
		}
		if wrong := w.judge("state", s, asked[i], now, count); wrong > 0 {
			text, _ := json.Marshal(s)
			t.Errorf(
				"state %d: %d of %d probes were judged wrong: %s",
				i,
				wrong,
				len(asked[i]),
				text,
			)
			if i > 0 {
				text, _ := json.Marshal(states[i-1])
				t.Logf("the state before: %s", text)
			}
		}
	}
	w.applyState(nil)
	w.judge("after teardown", nothing, asked[len(asked)-1], now, map[firewall.Verdict]int{})
	t.Logf(
		"%d states, %d probes: %d allowed, %d not ours, %d refused",
		len(states),
		count[firewall.Allowed]+count[firewall.Ignored]+count[firewall.Refused],
		count[firewall.Allowed],
		count[firewall.Ignored],
		count[firewall.Refused],
	)
	if count[firewall.Allowed] < leastOfKind || count[firewall.Refused] < leastOfKind {
		t.Error("too few of one kind to prove anything")
	}
}

// flow is a packet to send; its interface follows from the source, see home.
type flow struct {
	protocol    firewall.Protocol
	source      netip.Addr
	destination netip.Addr
	port        uint16
}

// judge sends every flow, compares what comes of it with what the State decides, and returns how
// many differ.
func (w *world) judge(
	what string,
	s firewall.State,
	flows []flow,
	now time.Time,
	count map[firewall.Verdict]int,
) (wrong int) {
	w.t.Helper()
	w.forgetConnections()
	for _, by := range []struct {
		node *lab.Node
		name string // of the host's interface
	}{{w.Internet, "eth0"}, {w.Office, "eth1"}, {w.Container, "docker0"}} {
		var questions []lab.Question
		var wants []lab.Answer
		var decisions []firewall.Decision
		for _, f := range flows {
			if home(w, f.source) != by.node {
				continue
			}
			d := s.Decide(
				firewall.Flow{
					Protocol:    f.protocol,
					Source:      f.source,
					Destination: f.destination,
					Port:        f.port,
					Interface:   by.name,
				},
				now,
			)
			want := lab.Open
			switch {
			case d.Verdict == firewall.Refused && s.Refuse == firewall.RefuseReject:
				want = lab.Refused
			case d.Verdict == firewall.Refused:
				want = lab.Dropped
			}
			questions = append(
				questions,
				lab.Question{
					Source: f.source,
					To:     netip.AddrPortFrom(f.destination, f.port),
					Over:   lab.Protocol(f.protocol),
				},
			)
			wants, decisions = append(wants, want), append(decisions, d)
			count[d.Verdict]++
		}
		for i, got := range w.probe(by.node, questions, wants) {
			if got == wants[i] {
				continue
			}
			if wrong++; wrong <= 10 {
				w.t.Errorf(
					"%s: %v from %v on %s to %v is %v, want %v: %s",
					what,
					firewall.Protocol(questions[i].Over),
					questions[i].Source,
					by.name,
					questions[i].To,
					got,
					wants[i],
					decisions[i].Reason,
				)
			}
		}
	}
	return wrong
}

// probe asks each question once, and again only where an answer should have come: silence where
// silence is wanted needs no second proof.
func (w *world) probe(from *lab.Node, questions []lab.Question, wants []lab.Answer) []lab.Answer {
	w.t.Helper()
	answers := w.ProbeEach(from, questions, lab.Attempts(1))
	var again []lab.Question
	var at []int
	for i, got := range answers {
		if got == lab.Dropped && wants[i] != lab.Dropped {
			again, at = append(again, questions[i]), append(at, i)
		}
	}
	for i, got := range w.ProbeEach(from, again) {
		answers[at[i]] = got
	}
	return answers
}

// published is the port that leads to the container, but for what comes from the container.
const published = 8080

// listening are the ports with an echo on the host: what a State does not refuse is answered.
var listening = func() []uint16 {
	out := []uint16{1, 2, published, 59999, 60000, 60001, 65534, 65535}
	for p := range uint16(64) {
		out = append(out, 9000+p)
	}
	slices.Sort(out)
	return out
}()

// drawing draws random States and the packets to judge them by.
type drawing struct {
	*rand.Rand
	now time.Time
}

func pick[T any](d drawing, list ...T) T { return list[d.IntN(len(list))] }

// state draws a State. Services that clash with those before them are drawn again.
func (d drawing) state() firewall.State {
	s := firewall.State{
		Unlisted:    pick(d, firewall.UnlistedIgnore, firewall.UnlistedDeny),
		Refuse:      pick(d, firewall.RefuseDrop, firewall.RefuseReject),
		Established: pick(d, firewall.EstablishedCut, firewall.EstablishedKeep),
		Essentials: pick(
			d,
			firewall.DefaultEssentials,
			0,
			firewall.Essentials(d.IntN(int(firewall.DefaultEssentials)+1)),
		),
	}
	for range 2 + d.IntN(4) {
		s = d.more(s)
	}
	return s
}

var serviceNames = []string{
	"a",
	"b.c",
	"prometheus",
	"node_exporter",
	"a-name-as-long-as-a-service-may-have-which-is-48",
	"x1",
	"x2",
	"x3",
}

// more adds a service to a State, if a few attempts find room for one, and makes it canonical.
func (d drawing) more(s firewall.State) firewall.State {
	for range 50 {
		svc := d.service(s.Services)
		added := append(slices.Clone(s.Services), svc)
		if slices.ContainsFunc(
			s.Services,
			func(o firewall.Service) bool { return o.Name == svc.Name },
		) ||
			len(firewall.Clashes(added)) > 0 {
			continue
		}
		added[len(added)-1] = d.withSources(svc)
		n := s
		n.Services = added
		if c, err := n.Canonical(); err == nil {
			return c
		}
	}
	return s
}

// service draws a service that nobody may reach yet, beside others.
func (d drawing) service(others []firewall.Service) firewall.Service {
	svc := firewall.Service{
		Name:       pick(d, serviceNames...),
		Log:        pick(d, firewall.LogNone, firewall.LogDenied, firewall.LogAll),
		Ports:      d.ports(),
		Interfaces: d.interfaces(),
		Addresses:  d.addresses(),
	}
	if len(others) > 0 && d.IntN(2) == 0 { // shares a port, where interfaces or addresses allow it
		shared := pick(d, pick(d, others...).Ports...)
		svc.Ports = append(svc.Ports, shared)
		if d.IntN(2) == 0 {
			svc.Ports = []firewall.PortRange{shared}
		}
	}
	if d.IntN(8) == 0 {
		svc.Rate = &firewall.Rate{Count: 10_000, Per: time.Second, Burst: 10_000} // never reached
	}
	return svc
}

func (d drawing) ports() (out []firewall.PortRange) {
	add := func(first, last uint16) {
		protocols := pick(
			d,
			[]firewall.Protocol{firewall.TCP},
			[]firewall.Protocol{firewall.UDP},
			[]firewall.Protocol{firewall.TCP, firewall.UDP},
		)
		for _, p := range protocols {
			out = append(out, firewall.PortRange{Protocol: p, First: first, Last: last})
		}
	}
	at := 9000 + uint16(d.IntN(60))
	switch d.IntN(7) {
	case 0, 1:
		add(at, at)
	case 2:
		add(at, at+uint16(1+d.IntN(3)))
	case 3: // many, so that a backend has to search
		for p := uint16(9000 + d.IntN(3)); p < 9064; p += uint16(2 + d.IntN(2)) {
			add(p, p)
		}
	case 4:
		add(published, published)
	case 5:
		r := pick(
			d,
			[2]uint16{1, 1},
			[2]uint16{60000, 65535},
			[2]uint16{65535, 65535},
			[2]uint16{60000, 60000},
			[2]uint16{1, 59999},
		)
		add(r[0], r[1])
	case 6:
		for range 1 + d.IntN(2) {
			out = append(out, firewall.Portless(pick(d, portless...)))
		}
	}
	return out
}

func (d drawing) interfaces() (out []string) {
	if d.IntN(3) == 0 {
		return nil
	}
	for range 1 + d.IntN(2) {
		// veth0 is a port of docker0: packets arrive on the bridge.
		out = append(
			out,
			pick(
				d,
				"eth0",
				"eth0",
				"eth1",
				"docker0",
				"eth*",
				"eth*",
				"e*",
				"eth1*",
				"docker*",
				"d*",
				"veth*",
				"wg0",
			),
		)
	}
	return out
}

var hostAddresses = []netip.Addr{host4, host6, second4, second6, inside4, inside6, bridge4, bridge6}

// addresses draws single ones, none beside another: two neighbours may merge into one prefix.
func (d drawing) addresses() (out address.Set) {
	if d.IntN(2) == 0 {
		return out
	}
	for range 1 + d.IntN(3) {
		a := pick(d, hostAddresses...)
		out = out.Union(prefixes(netip.PrefixFrom(a, a.BitLen())))
	}
	return out
}

func prefixes(list ...netip.Prefix) address.Set {
	p, err := address.New(list...)
	if err != nil {
		panic(err) // the drawing drew what is no prefix
	}
	return p
}

// withSources draws who may reach a service, for each family apart.
func (d drawing) withSources(svc firewall.Service) firewall.Service {
	svc.Sources, svc.Expiring, svc.Leases = address.Set{}, nil, nil
	for _, six := range []bool{false, true} {
		svc.Sources = svc.Sources.Union(d.sources(six))
		if d.IntN(3) > 0 {
			continue
		}
		for range pick(d, 1, 3, 30) {
			svc.Expiring = append(svc.Expiring, d.lease(d.prefix(six, 0)))
		}
		if d.IntN(10) == 0 {
			svc.Expiring = append(svc.Expiring, d.lease(pick(d, broad(six)...)))
		}
		if d.IntN(2) == 0 { // on the first of its ports, or the last
			r := pick(d, svc.Ports...)
			port := pick(d, r.First, r.Last)
			svc.Leases = append(svc.Leases, firewall.Lease{
				Ports:    []firewall.PortRange{{Protocol: r.Protocol, First: port, Last: port}},
				Expiring: []firewall.ExpiringSource{d.lease(d.prefix(six, 0))},
			})
		}
	}
	return svc
}

// lease ends long after the test, or has ended long before.
func (d drawing) lease(p netip.Prefix) firewall.ExpiringSource {
	return firewall.ExpiringSource{
		Prefix: p,
		Until:  d.now.Add(pick(d, time.Hour, 2*time.Hour, 60*24*time.Hour, -time.Hour)),
	}
}

// sources draws lists of every size at which a backend might hold them in another way.
func (d drawing) sources(six bool) (out address.Set) {
	switch d.IntN(8) {
	case 0: // nobody
	case 1, 2:
		for range 1 + d.IntN(14) {
			out = out.Union(prefixes(d.prefix(six, 0)))
		}
	case 3: // the border between few and many
		for n := 15 + d.IntN(4); out.Len() < n; {
			out = out.Union(prefixes(d.prefix(six, 28)))
		}
	case 4:
		return d.many(20+d.IntN(400), six, 0)
	case 5: // exact addresses only
		return d.many(20+d.IntN(700), six, 32)
	case 6: // both
		return d.many(600, six, 32).Union(d.many(30, six, 0))
	case 7:
		out = prefixes(pick(d, broad(six)...))
		// With holes.
		return out.Minus(d.many(d.IntN(20), six, 0))
	}
	return out
}

func (d drawing) many(n int, six bool, least int) address.Set {
	var list []netip.Prefix
	for range n {
		list = append(list, d.prefix(six, least))
	}
	return prefixes(list...)
}

// prefix draws a prefix within a region, among few enough addresses that two of them often touch or
// overlap. Its last part is at least so long, of 32 bits.
func (d drawing) prefix(six bool, least int) netip.Prefix {
	bits := max(least, pick(d, 22, 24, 28, 30, 31, 32, 24+d.IntN(9)))
	x, y := byte(d.IntN(16)), byte(d.IntN(256))
	if six {
		a := netip.MustParseAddr(pick(d, "2a00:9::", "fd00:20:0:8000::", "fd00:30::")).As16()
		a[14], a[15] = x, y
		return netip.PrefixFrom(netip.AddrFrom16(a), 96+bits).Masked()
	}
	a := netip.MustParseAddr(pick(d, "9.0.0.0", "10.20.128.0", "172.30.0.0")).As4()
	a[2], a[3] = a[2]|x, y
	return netip.PrefixFrom(netip.AddrFrom4(a), bits).Masked()
}

// broad are prefixes wider than a region.
func broad(six bool) []netip.Prefix {
	list := []string{
		"0.0.0.0/0",
		"0.0.0.0/1",
		"128.0.0.0/1",
		"9.0.0.0/8",
		"10.0.0.0/8",
		"172.16.0.0/12",
		"128.0.0.0/2",
	}
	if six {
		list = []string{"::/0", "::/1", "8000::/1", "2000::/3", "fc00::/7", "2a00::/16"}
	}
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// changed draws a State that differs from another one in one or two ways.
func (d drawing) changed(s firewall.State) firewall.State {
	for {
		n := s
		n.Services = slices.Clone(s.Services)
		for range 1 + d.IntN(2) {
			d.change(&n)
		}
		if c, err := n.Canonical(); err == nil && !c.Equal(s) {
			return c
		}
	}
}

func (d drawing) change(s *firewall.State) {
	svc := &s.Services[d.IntN(len(s.Services))]
	switch d.IntN(13) {
	case 0:
		s.Refuse = pick(d, firewall.RefuseDrop, firewall.RefuseReject)
	case 1:
		s.Unlisted = pick(d, firewall.UnlistedIgnore, firewall.UnlistedDeny)
	case 2:
		s.Established = pick(d, firewall.EstablishedCut, firewall.EstablishedKeep)
	case 3:
		*s = d.more(*s)
	case 4:
		if len(s.Services) > 1 {
			s.Services = slices.Delete(s.Services, 0, 1)
		}
	case 5:
		svc.Interfaces = d.interfaces()
	case 6:
		svc.Addresses = d.addresses()
	case 7:
		svc.Ports = d.ports()
	case 8: // what was for good ends some day
		svc.Expiring = slices.Clone(svc.Expiring)
		for p := range svc.Sources.All() {
			svc.Expiring = append(svc.Expiring, d.lease(p))
		}
		svc.Sources = address.Set{}
	case 9: // one source more
		svc.Sources = svc.Sources.Union(prefixes(d.prefix(d.IntN(2) == 0, 0)))
	case 10: // half of them less
		var left []netip.Prefix
		for p := range svc.Sources.All() {
			if d.IntN(2) == 0 {
				left = append(left, p)
			}
		}
		svc.Sources = prefixes(left...)
	case 11, 12:
		*svc = d.withSources(*svc)
	}
}

// bordersOfEach is at how many prefixes of one service and family a State is probed.
const bordersOfEach = 30

// flows draws packets from around the borders of every service's sources, to its ports and the
// ports beside them, to all of the host's addresses.
func (d drawing) flows(s firewall.State) []flow {
	var out []flow
	seen := map[flow]bool{}
	add := func(svc firewall.Service, source netip.Addr) {
		local := slices.DeleteFunc(
			slices.Clone(hostAddresses),
			func(a netip.Addr) bool { return a.Is6() != source.Is6() },
		)
		r := pick(d, svc.Ports...)
		other := pick(d, pick(d, s.Services...).Ports...)
		for _, at := range []struct {
			protocol firewall.Protocol
			port     uint16
		}{{r.Protocol, r.First}, {r.Protocol, r.Last}, {other.Protocol, pick(d, other.First-1, other.First, other.Last, other.Last+1)},
			{pick(d, firewall.TCP, firewall.UDP), pick(d, listening...)}, {pick(d, portless...), 0}} {
			if !at.protocol.HasPorts() {
				at.port = 0
			}
			to := pick(d, local...)
			if here := slices.DeleteFunc(slices.Clone(local), func(a netip.Addr) bool { return !svc.OnAddress(a) }); len(
				here,
			) > 0 &&
				d.IntN(3) > 0 {
				to = pick(d, here...)
			}
			if f := (flow{at.protocol, source, to, at.port}); (at.port == 0) != at.protocol.HasPorts() &&
				(at.port == 0 || slices.Contains(listening, at.port)) &&
				!seen[f] {
				seen[f] = true
				out = append(out, f)
			}
		}
	}
	for _, svc := range s.Services {
		var list []netip.Prefix
		for _, f := range address.Families {
			all := slices.Collect(svc.Sources.Family(f))
			d.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			list = append(list, all[:min(len(all), bordersOfEach)]...)
		}
		for _, e := range svc.Expiring[:min(len(svc.Expiring), bordersOfEach)] {
			list = append(list, e.Prefix)
		}
		for _, l := range svc.Leases {
			for _, e := range l.Expiring[:min(len(l.Expiring), bordersOfEach)] {
				list = append(list, e.Prefix)
			}
		}
		for _, six := range []bool{false, true} { // strangers, perhaps
			for range 5 {
				list = append(list, d.prefix(six, 0))
			}
		}
		for _, p := range list {
			for _, source := range borders(p) {
				add(svc, source)
			}
		}
	}
	return out
}
