package audit

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// addressAnswer is the answer to a question about an address.
type addressAnswer struct {
	family    address.Family
	address   netip.Addr // the zero Addr: all of the host's addresses
	admission admission
	// also are groups and broadcast addresses with the same answer.
	also []netip.Addr
}

// admission is the sources that get in, as one question was answered.
type admission struct {
	sources exposure.Ranges
	number  int // of the sources in the pool, for this family only
	rate    firewall.Rate
	rated   []string
	// unlimited are the sources that the rules let in at any rate, and unlimitedNumber their number
	// in the pool.
	unlimited       exposure.Ranges
	unlimitedNumber int
	// withheld are the sources that get in or not, which the policy omits, and withheldNumber their
	// number in the pool.
	withheld       exposure.Ranges
	withheldNumber int
	// ending are the sources that get in only until elements of sets expire, and endingNumber the
	// number of these with their sets and times.
	ending       exposure.Ranges
	endingNumber int
	// stopped are the sources that rules refuse, not the host itself.
	stopped exposure.Ranges
	// barred are the sources that are refused only until elements of sets expire.
	barred   exposure.Ranges
	unknown  []string
	comments []string
	targets  []string
}

func (a admission) equal(b admission) bool {
	return a.number == b.number && a.unlimitedNumber == b.unlimitedNumber &&
		a.withheldNumber == b.withheldNumber && a.endingNumber == b.endingNumber &&
		a.rate == b.rate &&
		slices.Equal(a.rated, b.rated) &&
		slices.Equal(a.unknown, b.unknown)
}

func (a admission) isEmpty() bool {
	return a.sources.Empty() && len(a.unknown) == 0 && a.ending.Empty()
}

// askFamily asks with the destination left open or, if rules may distinguish destinations, with
// each of the host's addresses; and with groups and broadcast addresses.
func (s *survey) askFamily(
	x *subject,
	iface string,
	f address.Family,
	addresses []netip.Addr,
	mu *sync.Mutex,
) (out []addressAnswer, err error) {
	q := exposure.Question{
		Family: f, Protocol: x.Protocol, Interface: iface, Port: x.First, NoExtensions: true,
	}
	open, whole, err := s.answer(x, q, mu)
	if err != nil {
		return nil, err
	}
	if whole {
		out = append(out, addressAnswer{family: f, admission: open})
	} else {
		for _, address := range addresses {
			q.Destination = address
			here, _, err := s.answer(x, q, mu)
			if err != nil {
				return nil, err
			}
			out = append(out, addressAnswer{family: f, address: address, admission: here})
		}
		if !slices.ContainsFunc(out, func(o addressAnswer) bool { return !o.admission.equal(out[0].admission) }) {
			out = []addressAnswer{{family: f, admission: out[0].admission}}
		}
	}
	return s.askGroups(x, q, out, s.spreadAddresses(x), mu)
}

// askGroups adds the answers for groups and broadcast addresses.
func (s *survey) askGroups(
	x *subject,
	q exposure.Question,
	out []addressAnswer,
	groups []netip.Addr,
	mu *sync.Mutex,
) ([]addressAnswer, error) {
	for _, g := range groups {
		if g.Is4() != (q.Family == address.IPv4) {
			continue
		}
		q.Destination = g
		there, _, err := s.answer(x, q, mu)
		if err != nil {
			return nil, err
		}
		switch {
		case there.isEmpty():
		case !out[0].address.IsValid() && there.equal(out[0].admission):
			out[0].also = append(out[0].also, g)
		default:
			out = append(out, addressAnswer{family: q.Family, address: g, admission: there})
		}
	}
	return out, nil
}

// answer asks one question. whole reports whether the answer holds for every address of the host.
func (s *survey) answer(
	x *subject,
	q exposure.Question,
	mu *sync.Mutex,
) (a admission, whole bool, err error) {
	q.Answers = exposure.NoAnswers
	asks := x.Protocol.HasPorts() || x.Protocol == firewall.Ping
	if asks && s.evaluator.MayStopAnswers(q.Family) {
		q.Answers = exposure.OwnAnswers
	}
	answer, err := s.evaluator.Evaluate(q)
	if err != nil {
		return a, false, err
	}
	passes := func(p exposure.Piece) bool {
		return (p.Outcome == exposure.Delivered || p.Outcome == exposure.Forwarded &&
			p.Translated) &&
			!(needsAnswer(q.Protocol) && lostToRule(p.Reply))
	}
	answer = withoutOtherGroups(answer)
	certain, possible := answer.Reach(passes)
	n := slot(q.Family)
	pieces := answer.Pieces
	if s.lasting != nil {
		later, err := s.lasting.Evaluate(q)
		if err != nil {
			return a, false, err
		}
		later = withoutOtherGroups(later)
		// The policy lets in who gets in both now and later.
		certainLater, possibleLater := later.Reach(passes)
		a.ending, a.barred = possible.Minus(possibleLater), possibleLater.Minus(possible)
		certain, possible = certain.Intersect(certainLater), possible.Intersect(possibleLater)
		pieces = slices.Concat(pieces, later.Pieces)
	}
	doubt := possible.Minus(certain).Minus(s.unroutable[n])
	whole = doubt.Empty()
	a.sources = certain
	var silenced exposure.Ranges // not of TCP and SCTP, which passes leaves out
	var doubts []exposure.Decider
	var rejected, dropped float64
	var rejects, drops bool
	for _, p := range pieces {
		if !p.Sources.Intersect(doubt).Empty() {
			for _, u := range p.Unknowns {
				if !slices.Contains(doubts, u) {
					doubts = append(doubts, u)
				}
			}
		}
	}
	for _, p := range answer.Pieces {
		switch {
		case passes(p):
			if p.Outcome == exposure.Delivered && lostToRule(p.Reply) {
				silenced = silenced.Union(p.Sources.Minus(s.unroutable[n]))
			}
			whole = whole && !p.Translated
			a.targets = appendOnce(a.targets, targetOf(p))
			if r := p.DecidedBy.Rule; r != nil {
				a.comments = appendOnce(a.comments, commentOf(r))
			}
		case p.DecidedBy.Chain == nil && p.DecidedBy.Rule == nil: // the host itself
		case p.Outcome == exposure.Rejected:
			a.stopped = a.stopped.Union(p.Sources)
			rejects = rejects || !byPortgrave(p.DecidedBy)
			rejected += float64(x.weight()) * share(p.Sources, q.Family)
		default:
			a.stopped = a.stopped.Union(p.Sources)
			drops = drops || !byPortgrave(p.DecidedBy)
			dropped += float64(x.weight()) * share(p.Sources, q.Family)
		}
	}
	if !doubt.Empty() {
		s.decide(&a, s.rateBans(doubts, x.PortRange), possible)
		for _, d := range doubts {
			if d.Rule != nil && refuses(d.Rule, 0) {
				s.mayRefuse.Store(Words(withoutReason(d).Describe()), true)
			}
		}
	}
	// simplestPrefixes includes them again where that is shorter
	a.sources = a.sources.Minus(
		s.unroutable[n],
	)
	var ends []ending
	if ending := a.ending.Minus(s.unroutable[n]); !ending.Empty() {
		ends = s.endsOf(q, ending, slices.ContainsFunc(answer.Pieces, func(p exposure.Piece) bool {
			return p.Outcome.Passes() && p.Translated
		}), passes)
	}
	var both, free, withheld sources
	both[n], free[n] = a.sources, a.unlimited.Minus(s.unroutable[n])
	withheld[n] = a.withheld.Minus(s.unroutable[n])
	mu.Lock()
	defer mu.Unlock()
	a.number, a.unlimitedNumber = s.pool.number(both), s.pool.number(free)
	a.withheldNumber, a.endingNumber = s.pool.number(withheld), s.pool.numberEndings(ends)
	for _, what := range answer.Assumed {
		if exposure.AssumedOfPackets(what) {
			s.assumed = appendOnce(s.assumed, what)
		}
	}
	s.barred[n] = s.barred[n].Union(a.barred.Minus(s.unroutable[n]))
	if !s.group(q.Destination) {
		x.silenced[n] = x.silenced[n].Union(silenced)
	}
	if x.Protocol == firewall.TCP {
		s.rejected, s.dropped = s.rejected+rejected, s.dropped+dropped
		s.rejects, s.drops = s.rejects || rejects, s.drops || drops
	}
	return a, whole, nil
}

// withoutOtherGroups is an answer without the ways of packets to a multicast group that the host
// hasn't joined. Which ones it has is up to the host, with the policy as with the rules.
func withoutOtherGroups(a exposure.Answer) exposure.Answer {
	a.Pieces = slices.DeleteFunc(slices.Clone(a.Pieces), func(p exposure.Piece) bool {
		return !p.Outcome.Passes() && byMembership(p.DecidedBy)
	})
	return a
}

// byMembership reports whether membership of a multicast group decides.
func byMembership(d exposure.Decider) bool {
	return d.Rule == nil && d.Chain == nil && strings.HasSuffix(d.Reason, "a multicast group")
}

// byPortgrave reports whether Portgrave's own rules decided.
func byPortgrave(d exposure.Decider) bool {
	return d.Rule != nil && d.Rule.Owner() == "portgrave" ||
		d.Chain != nil && d.Chain.Owner() == "portgrave"
}

// lostToRule reports whether a rule certainly stops the answer. Without the rules it would get out,
// so the policy has to refuse the packet.
func lostToRule(r *exposure.Reply) bool {
	return r != nil && r.Lost && (r.Likely || len(r.Unknowns) == 0) && r.By.Chain != nil
}

// decide decides on sources that may get in or not. If only rates are unknown, the service gets the
// rate and includes the sources. Otherwise they are omitted or, with IncludeUnknown, included.
func (s *survey) decide(
	a *admission,
	doubts []exposure.Decider,
	possible exposure.Ranges,
) {
	doubts = slices.DeleteFunc(doubts, byMembership)
	if rate, rules, ok := s.ratesOf(doubts); ok {
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
	} else {
		a.withheld = possible.Minus(a.sources)
	}
}

// withoutReason keeps only the rule, if there is one.
func withoutReason(d exposure.Decider) exposure.Decider {
	if d.Rule != nil && d.Rule.Text != "" {
		d.Reason = ""
	}
	return d
}

// commentOf is a rule's comment for people.
func commentOf(r *exposure.Rule) string {
	c := strings.TrimSpace(strings.Trim(r.Comment, `'"`))
	if app, ok := strings.CutPrefix(c, "dapp_"); ok { // ufw's mark of an application profile
		c = strings.ReplaceAll(app, "%20", " ")
	}
	return c
}
