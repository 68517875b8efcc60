package audit

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// survey is what the evaluator says of everything that the rules tell apart.
type survey struct {
	*auditor
	options ImportOptions
	pool    *pool
	// groups are multicast and broadcast addresses that rules name.
	groups   []netip.Addr
	subjects []*subject
	// destinations are the single destinations that rules name; nil: not looked for yet.
	destinations map[netip.Addr]bool
	// stopping are rules that stop somebody, of whom isn't known who that is.
	stopping sync.Map
	// narrowed: the rules tell too many ports apart to ask about all of them.
	narrowed bool
	// defaults are the profiles of most ports, by kind of protocol and interface.
	defaults map[place]*profile
	// rejected and dropped weigh how ports are refused, by ports and sources.
	rejected, dropped float64
	// rejects and drops: rules of others do so.
	rejects, drops bool
}

// subject is some ports of one protocol that no rule tells apart, or a protocol without ports.
type subject struct {
	firewall.PortRange
	behind   behind
	sampled  bool       // the rules tell its ports apart, and only the first was asked about
	profiles []*profile // one for each of the survey's interfaces
	// like is another one that no rule tells from it, which was asked about in its place; nil if none.
	like *subject
}

// weight is how many ports it has.
func (s *subject) weight() int { return int(s.Last) - int(s.First) + 1 }

// place is one interface, and the protocol; those without ports are one.
type place struct {
	protocol firewall.Protocol
	iface    int
}

// portless stands for all protocols without ports in a place.
const portless = firewall.Protocol(0)

func (s *subject) place(iface int) place {
	if s.Protocol.HasPorts() {
		return place{s.Protocol, iface}
	}
	return place{portless, iface}
}

// profile is who gets in by one interface: an opening for each address that differs.
type profile struct {
	key      string // equal for equal profiles
	openings []opening
	comments []string // of the rules that let in
	targets  []string // where packets go instead of here
}

// empty reports whether nobody gets in, and nothing is unknown.
func (p *profile) empty() bool { return len(p.openings) == 0 }

// opening is who gets in at some addresses of the host.
type opening struct {
	addresses string // the addresses, "" for all
	at        []netip.Addr
	sources   int // in the pool
	rate      firewall.Rate
	rated     string // the rules that the rate stands for, a line each
	unlimited int    // the sources, in the pool, for which the rules have no rate
	unknown   string // the rules that can't be known, a line each
}

// maxImportQuestions bounds what is asked: a question takes tens of microseconds to a millisecond.
const maxImportQuestions = 40_000

// ask asks about everything, on all processors.
func (s *survey) ask(ctx context.Context) error {
	s.choose()
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

// choose lists the subjects: each range of ports within which no rule and no listener makes a
// difference, for each protocol; and each protocol without ports.
func (s *survey) choose() {
	people := s.behindPorts()
	each := len(firewall.Protocols) * max(1, len(s.interfaces)) * len(firewall.Families)
	ranges, questions := map[firewall.Protocol][][2]uint16{}, 0
	for _, p := range firewall.Protocols {
		ranges[p] = s.toldApart(p, people)
		questions += len(ranges[p]) * each / len(firewall.Protocols)
		s.narrowed = s.narrowed || ranges[p] == nil
	}
	s.narrowed = s.narrowed || questions > maxImportQuestions
	for _, p := range firewall.Protocols {
		asked := ranges[p]
		if s.narrowed {
			asked = s.fewer(p, asked, people, maxImportQuestions/each)
		}
		for _, r := range asked {
			s.subjects = append(s.subjects, &subject{
				PortRange: firewall.PortRange{Protocol: p, First: r[0], Last: r[1]},
				behind:    people[portKey{p, r[0]}],
				sampled:   ranges[p] == nil && r[0] < r[1],
			})
		}
	}
	s.choosePortless()
}

// choosePortless lists the protocols without ports. Of those that neither a name nor a rule tells
// apart, some two hundred, one is asked about.
func (s *survey) choosePortless() {
	b := bordersOf(s.Rules, nil, 0)
	var asked *subject // the last without a name that was asked about
	for n := 1; n < 256; n++ {
		p := firewall.Protocol(n)
		if b.protocols[n] {
			asked = nil
		}
		if !p.Listable() || p.HasPorts() {
			continue
		}
		x := &subject{PortRange: firewall.Portless(p)}
		if unnamed := strings.HasPrefix(p.String(), "protocol-"); unnamed && !b.protocolComputed {
			if x.like = asked; asked == nil {
				asked = x
			}
		}
		s.subjects = append(s.subjects, x)
	}
}

// toldApart are the ranges of ports within which no rule about a protocol, and no listener, makes a
// difference; nil where a rule computes with ports, so that each may be a matter of its own.
func (s *survey) toldApart(p firewall.Protocol, people map[portKey]behind) (out [][2]uint16) {
	b := bordersOf(s.Rules, s.told(), p)
	if b.computed || b.raw {
		return nil
	}
	// Essentials decide about these, so no service may have them among others.
	for _, port := range []int{firewall.DHCPClientPort, firewall.DHCPv6ClientPort} {
		b.starts[port], b.starts[port+1] = true, true
	}
	for k := range people {
		b.starts[k.port], b.starts[int(k.port)+1] = true, true
	}
	for first, port := 1, 1; port < 1<<16; port++ {
		if port == 1<<16-1 || b.starts[port+1] {
			out = append(out, [2]uint16{uint16(first), uint16(port)})
			first = port + 1
		}
	}
	return out
}

// fewer are the ranges asked about where all of them are too many: somebody's ports, and the widest
// others, which show the default. Where it isn't known where rules begin to differ, all is nil: then
// the gaps between somebody's ports are cut into samples.
func (s *survey) fewer(
	p firewall.Protocol,
	all [][2]uint16,
	people map[portKey]behind,
	most int,
) (out [][2]uint16) {
	known := map[int]bool{firewall.DHCPClientPort: true, firewall.DHCPv6ClientPort: true}
	for k := range people {
		if k.protocol == p {
			known[int(k.port)] = true
		}
	}
	if all == nil {
		return samples(known)
	}
	var others [][2]uint16
	for _, r := range all {
		if known[int(r[0])] {
			out = append(out, r)
		} else {
			others = append(others, r)
		}
	}
	slices.SortStableFunc(others, func(a, b [2]uint16) int {
		return cmp.Compare(b[1]-b[0], a[1]-a[0])
	})
	out = append(out, others[:min(len(others), max(most-len(out), 1))]...)
	slices.SortFunc(out, func(a, b [2]uint16) int { return cmp.Compare(a[0], b[0]) })
	return out
}

// samplesOfGap is into how many samples a gap is cut. Their first ports are even and odd ones.
const samplesOfGap = 7

// samples are some ports, and ranges that fill the gaps between them.
func samples(known map[int]bool) (out [][2]uint16) {
	last := 0
	for _, port := range append(slices.Sorted(maps.Keys(known)), 1<<16) {
		step := max((port-last-1)/samplesOfGap, 1) | 1
		for first := last + 1; first < port; first += step {
			out = append(out, [2]uint16{uint16(first), uint16(min(first+step, port) - 1)})
		}
		if port < 1<<16 {
			out = append(out, [2]uint16{uint16(port), uint16(port)})
		}
		last = port
	}
	return out
}

// askAbout asks about one subject by each interface.
func (s *survey) askAbout(x *subject, mu *sync.Mutex) error {
	for _, on := range s.interfaces {
		var spots []spot
		for _, f := range firewall.Families {
			if here := s.addressesBy(on, f); len(here) > 0 && x.Protocol.Of(f) {
				more, err := s.askFamily(x, on.Name, f, here, mu)
				if err != nil {
					return err
				}
				spots = append(spots, more...)
			}
		}
		mu.Lock()
		x.profiles = append(x.profiles, s.profileOf(on, spots))
		mu.Unlock()
	}
	return nil
}

// addressesBy are the host's addresses that packets come to by an interface: link-local ones are
// each interface's own.
func (s *survey) addressesBy(on exposure.Interface, f firewall.Family) (out []netip.Addr) {
	for _, a := range s.addresses[f] {
		if !a.Is6() || !a.IsLinkLocalUnicast() || slices.ContainsFunc(on.Addresses,
			func(p netip.Prefix) bool { return p.Addr().WithZone("") == a }) {
			out = append(out, a)
		}
	}
	return out
}

// spot is what one question was answered.
type spot struct {
	family  firewall.Family
	address netip.Addr // the zero Addr: all of the host's
	said    said
}

// said is who gets in, as a question was answered.
type said struct {
	sources exposure.Ranges
	number  int // of the sources in the pool, of this family alone
	rate    firewall.Rate
	rated   []string
	// unlimited are the sources that the rules let in at any rate, and its number in the pool.
	unlimited exposure.Ranges
	free      int
	unknown   []string
	comments  []string
	targets   []string
}

func (a said) same(b said) bool {
	return a.number == b.number && a.free == b.free && a.rate == b.rate && slices.Equal(a.rated, b.rated) &&
		slices.Equal(a.unknown, b.unknown)
}

func (a said) nothing() bool { return a.sources.Empty() && len(a.unknown) == 0 }

// askFamily asks with the destination left open; if rules may tell destinations apart, with each
// of the host's addresses; and with the groups that rules name.
func (s *survey) askFamily(
	x *subject,
	iface string,
	f firewall.Family,
	addresses []netip.Addr,
	mu *sync.Mutex,
) (out []spot, err error) {
	q := exposure.Question{Family: f, Protocol: x.Protocol, Interface: iface, Port: x.First}
	open, whole, err := s.answer(x, q, mu)
	if err != nil {
		return nil, err
	}
	if whole {
		out = append(out, spot{f, netip.Addr{}, open})
	} else {
		for _, address := range addresses {
			q.Destination = address
			here, _, err := s.answer(x, q, mu)
			if err != nil {
				return nil, err
			}
			out = append(out, spot{f, address, here})
		}
		if !slices.ContainsFunc(out, func(o spot) bool { return !o.said.same(out[0].said) }) {
			out = []spot{{f, netip.Addr{}, out[0].said}}
		}
	}
	if x.Protocol == firewall.TCP || x.Protocol == firewall.SCTP || x.Protocol == firewall.Ping {
		return out, nil
	}
	for _, g := range s.groups {
		if g.Is4() != (f == firewall.IPv4) {
			continue
		}
		q.Destination = g
		there, _, err := s.answer(x, q, mu)
		if err != nil {
			return nil, err
		}
		if len(out) == 1 && there.same(out[0].said) || there.nothing() {
			continue
		}
		out = append(out, spot{f, g, there})
	}
	return out, nil
}

// answer asks one question. whole reports whether every address of the host is answered alike.
func (s *survey) answer(x *subject, q exposure.Question, mu *sync.Mutex) (a said, whole bool, err error) {
	q.Answers = exposure.NoAnswers
	if needsAnswer(q.Protocol) && s.evaluator.MayStopAnswers(q.Family) {
		q.Answers = exposure.OwnAnswers
	}
	answer, err := s.evaluator.Evaluate(q)
	if err != nil {
		return a, false, err
	}
	passes := func(p exposure.Piece) bool {
		return (p.Outcome == exposure.Delivered || p.Outcome == exposure.Forwarded && p.Translated) &&
			!(needsAnswer(q.Protocol) && lostToRule(p.Reply))
	}
	certain, possible := answer.Reach(passes)
	n := slot(q.Family)
	doubt := possible.Minus(certain).Minus(s.unroutable[n])
	whole = doubt.Empty()
	a.sources = certain
	var doubts []exposure.Decider
	var rejected, dropped float64
	var rejects, drops bool
	for _, p := range answer.Pieces {
		if !p.Sources.Intersect(doubt).Empty() {
			for _, u := range p.Unknowns {
				if !slices.Contains(doubts, u) {
					doubts = append(doubts, u)
				}
			}
		}
		switch {
		case passes(p):
			whole = whole && !p.Translated
			a.targets = appendOnce(a.targets, targetOf(p))
			if r := p.DecidedBy.Rule; r != nil {
				a.comments = appendOnce(a.comments, commentOf(r))
			}
		case p.DecidedBy.Chain == nil && p.DecidedBy.Rule == nil: // the host itself
		case p.Outcome == exposure.Rejected:
			rejects = rejects || !ofOurs(p.DecidedBy)
			rejected += float64(x.weight()) * share(p.Sources, q.Family)
		default:
			drops = drops || !ofOurs(p.DecidedBy)
			dropped += float64(x.weight()) * share(p.Sources, q.Family)
		}
	}
	if !doubt.Empty() {
		s.decide(&a, doubts, possible, q.Destination.IsMulticast())
		for _, d := range doubts {
			if d.Rule != nil && refuses(d.Rule, 0) {
				s.stopping.Store(Words(withoutReason(d).Describe()), true)
			}
		}
	}
	a.sources = a.sources.Minus(s.unroutable[n]) // written fills them in again where that is shorter
	var both, free sources
	both[n], free[n] = a.sources, a.unlimited.Minus(s.unroutable[n])
	mu.Lock()
	defer mu.Unlock()
	a.number, a.free = s.pool.number(both), s.pool.number(free)
	if x.Protocol == firewall.TCP {
		s.rejected, s.dropped = s.rejected+rejected, s.dropped+dropped
		s.rejects, s.drops = s.rejects || rejects, s.drops || drops
	}
	return a, whole, nil
}

// ofOurs reports whether Portgrave's own rules decide.
func ofOurs(d exposure.Decider) bool {
	return d.Rule != nil && d.Rule.Owner() == "portgrave" ||
		d.Chain != nil && d.Chain.Owner() == "portgrave"
}

// mixed reports whether rules of others reject some packets and drop others.
func (s *survey) mixed() bool { return s.rejects && s.drops }

// lostToRule reports whether a rule surely stops the answer: without the rules it would get out, so
// the policy has to refuse the packet.
func lostToRule(r *exposure.Reply) bool {
	return r != nil && r.Lost && (r.Likely || len(r.Unknowns) == 0) && r.By.Chain != nil
}

// decide says what becomes of the sources that may get in or not: rates become the service's, with
// all of them; else they are left out or, if that was asked for, taken in.
func (s *survey) decide(
	a *said,
	doubts []exposure.Decider,
	possible exposure.Ranges,
	group bool,
) {
	doubts = slices.DeleteFunc(doubts, func(d exposure.Decider) bool {
		return d.Rule == nil && d.Chain == nil && strings.HasSuffix(d.Reason, "a multicast group")
	})
	if len(doubts) == 0 && group { // whether somebody has joined it is the host's matter
		a.sources = possible
		return
	}
	if rate, rules, ok := ratesOf(doubts); ok {
		a.unlimited = a.sources
		a.sources, a.rate, a.rated = possible, rate, rules
		return
	}
	var names []string
	for _, d := range doubts {
		names = appendOnce(names, Words(withoutReason(d).Describe()))
	}
	a.unknown = names
	if len(names) == 0 {
		a.unknown = []string{"rules that were too many to follow"}
	}
	if s.options.IncludeUnknown {
		a.sources = possible
	}
}

// withoutReason names the rule alone where there is one.
func withoutReason(d exposure.Decider) exposure.Decider {
	if d.Rule != nil && d.Rule.Text != "" {
		d.Reason = ""
	}
	return d
}

// commentOf is what a rule's comment says for people.
func commentOf(r *exposure.Rule) string {
	c := strings.TrimSpace(strings.Trim(r.Comment, `'"`))
	if app, ok := strings.CutPrefix(c, "dapp_"); ok { // ufw's mark of an application profile
		c = strings.ReplaceAll(app, "%20", " ")
	}
	return c
}

// profileOf puts the answers of one interface together. The caller holds the pool's lock.
func (s *survey) profileOf(on exposure.Interface, spots []spot) *profile {
	p := &profile{}
	told := map[firewall.Family]int{}
	for _, x := range spots {
		told[x.family]++
		for _, c := range x.said.comments {
			p.comments = appendOnce(p.comments, c)
		}
		for _, t := range x.said.targets {
			p.targets = appendOnce(p.targets, t)
		}
	}
	apart := told[firewall.IPv4] > 1 || told[firewall.IPv6] > 1
	var both said
	for _, x := range spots {
		if apart {
			at := []netip.Addr{x.address}
			if !x.address.IsValid() {
				at = s.addressesBy(on, x.family)
			}
			p.add(at, x.said)
			continue
		}
		var set sources
		set[slot(x.family)] = x.said.sources
		both = both.and(x.said)
		both.number = s.pool.number(s.pool.sets[both.number].union(set))
		free := x.said.free
		if x.said.rate.Count == 0 { // the other family's rate would hold for all of these
			free = x.said.number
		}
		both.free = s.pool.number(s.pool.sets[both.free].union(s.pool.sets[free]))
	}
	if both.rate.Count == 0 {
		both.free = 0
	}
	if !apart {
		p.add(nil, both)
	}
	p.pair(s.pool)
	slices.SortFunc(p.openings, func(a, b opening) int { return cmp.Compare(a.addresses, b.addresses) })
	var key strings.Builder
	for _, o := range p.openings {
		fmt.Fprintf(&key, "%s\n", o.key())
	}
	p.key = key.String()
	return p
}

// and is two answers, of two families, in one service: the slower rate holds for both.
func (a said) and(b said) said {
	if b.rate.Count > 0 && (a.rate.Count == 0 || slower(b.rate, a.rate)) {
		a.rate = b.rate
	}
	for _, r := range b.rated {
		a.rated = appendOnce(a.rated, r)
	}
	for _, u := range b.unknown {
		a.unknown = appendOnce(a.unknown, u)
	}
	return a
}

func (o opening) key() string {
	return fmt.Sprint(o.addresses, "|", o.sources, "|", o.rate, "|", o.rated, "|",
		o.unlimited, "|", o.unknown)
}

// add adds an opening, or addresses to one that is the same otherwise.
func (p *profile) add(at []netip.Addr, a said) {
	if a.number == 0 && len(a.unknown) == 0 {
		return
	}
	o := opening{
		sources:   a.number,
		rate:      a.rate,
		rated:     strings.Join(a.rated, "\n"),
		unlimited: a.free,
		unknown:   strings.Join(a.unknown, "\n"),
	}
	for i, x := range p.openings {
		like := x
		like.addresses, like.at = "", nil
		if like.key() == o.key() && at != nil {
			p.openings[i].at = append(x.at, at...)
			p.openings[i].addresses = fmt.Sprint(p.openings[i].at)
			return
		}
	}
	if at != nil {
		o.at = slices.Clone(at)
		o.addresses = fmt.Sprint(o.at)
	}
	p.openings = append(p.openings, o)
}

// pair puts openings of the two families together where one service can say both: packets to an
// address have sources of its family alone.
func (p *profile) pair(pool *pool) {
	for i := 0; i < len(p.openings); i++ {
		for j := i + 1; j < len(p.openings); j++ {
			a, b := p.openings[i], p.openings[j]
			if !a.of(firewall.IPv4) || !b.of(firewall.IPv6) || a.rate != b.rate ||
				a.rated != b.rated || a.unknown != b.unknown {
				continue
			}
			a.at = slices.Concat(a.at, b.at)
			a.addresses = fmt.Sprint(a.at)
			a.sources = pool.number(pool.sets[a.sources].union(pool.sets[b.sources]))
			a.unlimited = pool.number(pool.sets[a.unlimited].union(pool.sets[b.unlimited]))
			p.openings[i] = a
			p.openings = slices.Delete(p.openings, j, j+1)
			break
		}
	}
}

// of reports whether an opening is at addresses of one family alone.
func (o opening) of(f firewall.Family) bool {
	return len(o.at) > 0 && !slices.ContainsFunc(o.at, func(a netip.Addr) bool {
		return a.Is4() != (f == firewall.IPv4)
	})
}

// findDefaults finds what most ports get by each interface. Samples that differ say little of most
// ports: there, one that is closed decides.
func (s *survey) findDefaults() {
	s.defaults = map[place]*profile{}
	type candidate struct {
		place
		key string
	}
	weights := map[candidate]int{}
	closed := map[place]bool{}
	for _, x := range s.subjects {
		for i, p := range x.profiles {
			at := x.place(i)
			c := candidate{at, p.key}
			weights[c] += x.weight()
			best := s.defaults[at]
			closed[at] = closed[at] || x.sampled && p.empty()
			if best == nil || closed[at] && p.empty() || !closed[at] && weights[c] > weights[candidate{at, best.key}] {
				s.defaults[at] = p
			}
		}
	}
}

// usual reports whether a subject gets what most do by an interface.
func (s *survey) usual(x *subject, iface int) bool {
	return x.profiles[iface].key == s.defaults[x.place(iface)].key
}

// refusing reports whether, by some interface that leads outside, most ports are closed to most of
// the world; and by which they are open, for people: "over ipv6 by eth0". A family counts of which
// the host has an address beyond link-local ones.
func (s *survey) refusing() (closed bool, open []string) {
	outside := s.outside()
	for _, f := range firewall.Families {
		var by []string
		refused := false
		for i, on := range s.interfaces {
			p := s.defaults[place{firewall.TCP, i}]
			leads := len(outside) == 0 || slices.ContainsFunc(outside, func(o exposure.Interface) bool {
				return o.Name == on.Name
			})
			if p == nil || !leads || !s.speaks(f) {
				continue
			}
			var in sources
			for _, o := range p.openings {
				in = in.union(s.pool.sets[o.sources])
			}
			if mostOf(in[slot(f)], f) {
				by = append(by, on.Name)
			} else {
				refused = true
			}
		}
		closed = closed || refused
		switch {
		case len(by) == 0:
		case refused:
			open = append(open, fmt.Sprintf("over %s by %s", f, strings.Join(by, ", ")))
		default:
			open = append(open, fmt.Sprintf("over %s", f))
		}
	}
	return closed, open
}

// speaks reports whether the host has an address of a family, beyond link-local ones.
func (s *survey) speaks(f firewall.Family) bool {
	return slices.ContainsFunc(s.addresses[f], func(a netip.Addr) bool {
		return !a.IsLinkLocalUnicast()
	})
}

// mostOf reports whether a set has more than half of the addresses that are routed in public.
func mostOf(set exposure.Ranges, f firewall.Family) bool {
	return share(set, f) > 0.5
}

// public are the addresses that are routed in public.
var public = firewall.MustPrefixes("0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3", "2000::/3")

// share is how much of the public addresses a set has, from 0 to 1.
func share(set exposure.Ranges, f firewall.Family) float64 {
	size := func(s exposure.Ranges) (n float64) {
		for r := range s.All() {
			n += magnitude(r.To) - magnitude(r.From) + 1
		}
		return n
	}
	all := exposure.SourcesOf(public, f)
	return size(set.Intersect(all)) / size(all)
}

// magnitude is a value as a number, rounded.
func magnitude(v exposure.Value) float64 {
	b := v.IPv6().As16()
	return float64(binary.BigEndian.Uint64(b[:8]))*(1<<64) + float64(binary.BigEndian.Uint64(b[8:]))
}

// refusal is how most ports are refused that are.
func (s *survey) refusal() firewall.Refuse {
	if s.rejected > s.dropped {
		return firewall.RefuseReject
	}
	return firewall.RefuseDrop
}
