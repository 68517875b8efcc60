package audit

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Offline is a question to rules without their host, such as a file: which sources on other
// machines get through? An empty field stands for every value that the rules distinguish.
type Offline struct {
	Protocol  firewall.Protocol // 0: TCP, UDP, and SCTP if a rule names it
	Port      uint16            // 0: every port
	Interface string            // "": any but lo
	// To is the dialled address; the zero Addr: the host's addresses, which aren't known.
	To netip.Addr
}

// Bounds on offline questions, for each protocol.
const (
	maxOfflineQuestions = 10_000
	maxOfflineRows      = 3_000
	// maxOfflineWork is in steps as exposure.Answer counts them: at most two seconds a protocol on
	// a quiet machine.
	maxOfflineWork = 40_000_000
	// maxNetworks is the most networks of a row's sources. Each takes 32 bytes, and as much again
	// while they are made.
	maxNetworks = 4_000_000
	// maxOwnRows is the most destinations of one port with rows of their own.
	maxOwnRows = 64
)

// RunOffline audits rules without their host. Report.Err returns an error if the question is too
// large, or is about an IP version that the rules don't cover.
func RunOffline(rs *exposure.Ruleset, ask Offline, in Input) Report {
	in.Rules, in.Host = rs, nil
	a := &auditor{
		Input: in,
		// Whether neighbours know each other, a dump doesn't tell.
		neighboursKnown: true,
		shared:          &shared{},
		assumed:         map[string]bool{},
		report: Report{
			Exposures: []Exposure{}, Findings: []Finding{}, Unjudged: in.Policy == nil,
		},
	}
	a.evaluator = a.newEvaluator(rs, nil)
	a.budget = budgetOf(a.evaluator)
	for _, m := range rs.Missing {
		a.report.Unread = append(a.report.Unread, fmt.Sprintf("%s: %s", m.What, m.Why))
	}
	a.report.Unread = append(a.report.Unread, rs.Partly...)
	a.unroutable = martians()
	o := &offline{auditor: a, Offline: ask, families: familiesOf(rs)}
	if to := familyOf(ask.To); ask.To.IsValid() {
		if len(o.families) > 0 && !slices.Contains(o.families, to) {
			a.report.err = fmt.Errorf(
				"these are rules for %s alone, which say nothing of %s: give those for %s too",
				o.families[0], ask.To, to,
			)
			return a.report
		}
		o.families = []address.Family{to}
	}
	if len(o.families) == 1 && !ask.To.IsValid() {
		a.assumed[fmt.Sprintf(
			"nothing is said of the other IP version: these are rules for %s alone",
			o.families[0],
		)] = true
	}
	if slices.Contains(o.families, address.IPv6) {
		a.assumed["hosts on a link know each other, whatever the rules do to IPv6's neighbour "+
			"discovery"] = true
	}
	a.assumeEmptySets()
	o.run()
	a.finish()
	if ask.Port == 0 {
		slices.SortStableFunc(a.report.Exposures, func(x, y Exposure) int {
			return strings.Compare(x.Protocol, y.Protocol)
		})
	}
	return a.report
}

func familyOf(a netip.Addr) address.Family {
	if a.Is6() {
		return address.IPv6
	}
	return address.IPv4
}

// familiesOf are the IP versions that rules from files cover: iptables-save IPv4, ip6tables-save
// IPv6, nft's listing both.
func familiesOf(rs *exposure.Ruleset) (out []address.Family) {
	for _, f := range address.Families {
		speaks := len(rs.Tables) == 0
		for _, t := range rs.Tables {
			speaks = speaks || t.System == exposure.NFTables || t.Family.Sees(f)
		}
		if speaks {
			out = append(out, f)
		}
	}
	return out
}

// offline asks the questions.
type offline struct {
	*auditor
	Offline
	families  []address.Family
	questions int
	work      int
	foreign   map[string]bool // destinations assumed to be another machine's
	elsewhere bool            // the address in question is assumed to be another machine's
	targets   *finder         // where rules send packets; nil until needed
}

// offlineRow is a row before it is judged.
type offlineRow struct {
	part
	protocol    firewall.Protocol
	first, last uint16
	at          []string     // the row's addresses; nil: any that rules don't name
	like        []netip.Addr // an address that represents the row's; nil: for any
}

func (o *offline) run() {
	o.foreign = map[string]bool{}
	protocols := []firewall.Protocol{o.Protocol}
	if o.Protocol == 0 {
		protocols = []firewall.Protocol{firewall.TCP, firewall.UDP}
		if namesProtocol(o.Rules, firewall.SCTP) {
			protocols = append(protocols, firewall.SCTP)
		}
	}
	for _, p := range protocols {
		o.protocol(p)
	}
	o.nameForeign()
}

// protocol asks about the ports of a protocol, and judges ports together if answers and policy are
// the same.
func (o *offline) protocol(p firewall.Protocol) {
	o.questions, o.work = 0, 0
	until := len(o.report.Exposures) + maxOfflineRows
	var before []offlineRow
	judge := func(rows []offlineRow) {
		for _, r := range rows {
			o.judgeRow(r)
		}
	}
	for _, ports := range o.ports(p) {
		if o.report.err != nil {
			return
		}
		if o.budgetSpent() || len(o.report.Exposures) > until {
			judge(before)
			o.judgeRow(o.notAsked(p, ports.First))
			return
		}
		rows := o.rows(ports)
		if o.sameRows(before, rows) {
			for i := range before {
				before[i].last = ports.Last
			}
			continue
		}
		judge(before)
		before = rows
	}
	judge(before)
}

// ports returns the ranges of ports to ask about, in order.
func (o *offline) ports(p firewall.Protocol) (out []firewall.PortRange) {
	if o.Port != 0 {
		return []firewall.PortRange{{Protocol: p, First: o.Port, Last: o.Port}}
	}
	var answers map[*exposure.Chain]bool
	if len(o.found().found) == 0 && !o.To.IsValid() {
		// Packets are for the host itself, so that their answers don't arrive anywhere.
		answers = chainsOfAnswers(o.Rules)
	}
	b := bordersOf(o.Rules, o.mentionedPorts(), p, answers)
	for first, port := 1, 1; port < 1<<16; port++ {
		if port == 1<<16-1 || b.computed || b.starts[port+1] {
			out = append(
				out, firewall.PortRange{Protocol: p, First: uint16(first), Last: uint16(port)},
			)
			first = port + 1
		}
	}
	return out
}

// rows asks about ports that no rule distinguishes: at the address in question, or at any unnamed
// address and at each address that rules name and treat differently.
func (o *offline) rows(ports firewall.PortRange) []offlineRow {
	row := func(p part, at []string, like ...netip.Addr) offlineRow {
		return offlineRow{p, ports.Protocol, ports.First, ports.Last, at, like}
	}
	if o.To.IsValid() {
		f := o.families[0]
		r := o.askTo(f, ports)
		return []offlineRow{
			row(part{reach: r, families: o.families}, []string{o.To.String()}, o.To),
		}
	}
	var anywhere part
	var unnamed []netip.Addr
	var named []offlineRow
	for _, f := range o.families {
		classes, complete := o.evaluator.Classes(f, ports.Protocol, ports.First, ports.Last)
		classes = o.dialled(f, ports.Protocol, classes)
		other := slices.IndexFunc(classes, func(c exposure.Class) bool { return c.Named == 0 })
		var rest reach
		if other >= 0 {
			alike := classes[other].Addresses
			if !complete { // rules may distinguish some of these
				o.tooMany()
				alike = exposure.Ranges{}
			}
			rest = o.askClass(f, ports, alike)
			anywhere.add(rest)
			anywhere.families = append(anywhere.families, f)
			if len(classes) > 1 {
				unnamed = append(unnamed, addressOf(f, widest(classes[other].Addresses)))
			}
		}
		for i, c := range classes {
			if i == other || c.Named&^exposure.PlaceOut == exposure.PlaceForward {
				continue // packets for another machine
			}
			if len(named) == maxOwnRows || o.budgetSpent() {
				o.tooMany()
				break
			}
			r := o.askClass(f, ports, c.Addresses)
			if other >= 0 && rest.same(r) {
				continue
			}
			at := addressWords(c.Addresses.Prefixes(f))
			if c.Named&(exposure.PlaceInput|exposure.PlaceTranslation) == 0 &&
				c.Named != exposure.PlaceOut && other >= 0 &&
				r.possible.minus(rest.possible).empty() && r.certain.minus(rest.certain).empty() {
				for _, s := range at {
					o.foreign[s] = true
				}
				continue
			}
			named = append(named, row(
				part{reach: r, families: []address.Family{f}}, at,
				addressOf(f, widest(c.Addresses)),
			))
		}
	}
	if len(anywhere.families) == 0 {
		return named
	}
	return append([]offlineRow{row(anywhere, nil, unnamed...)}, named...)
}

func (o *offline) budgetSpent() bool {
	return o.questions > maxOfflineQuestions || o.work > maxOfflineWork
}

func (o *offline) tooMany() {
	o.assumed["rules tell more destinations apart than are listed: ask with --to"] = true
}

// askClass asks about ports at a class of destinations, or at the address in question.
func (o *offline) askClass(
	f address.Family,
	ports firewall.PortRange,
	class exposure.Ranges,
) reach {
	q := exposure.Question{
		Family:    f,
		Protocol:  ports.Protocol,
		Interface: o.Interface,
		Outside:   o.Interface != "lo",
		Port:      ports.First,
	}
	switch {
	case o.To.IsValid():
		q.Destination = o.To
		q.Elsewhere = o.elsewhere
	case class.Len() > 0:
		if q.Within = widest(class); q.Within.From == q.Within.To {
			q.Destination, q.Within = addressOf(f, q.Within), exposure.Range{}
		}
	}
	o.questions++
	r := o.ask(o.evaluator, q, func(p exposure.Piece) bool { return p.Outcome.Passes() })
	o.work += r.work
	return r
}

// found is what rules before routing do to destinations.
func (o *offline) found() *finder {
	if o.targets == nil {
		o.targets = search(o.Rules)
	}
	return o.targets
}

// guessOwner guesses whether the address in question is the host's or another machine's. Rules at
// input and output name addresses of the host; rules at forward and targets of translations name
// those of other machines. If both name it, or only networks are forwarded, it may be either.
func (o *offline) guessOwner() (host, other bool) {
	at, wide := o.evaluator.PlacesNaming(o.To)
	host, other = at&exposure.PlaceInput != 0, at&exposure.PlaceForward != 0
	if !other {
		for d := range o.found().directTargets {
			other = other || d.target.Addr() == o.To
		}
	} else if wide&exposure.PlaceForward != 0 {
		host = true
	}
	return host || !other, other
}

// askTo asks about ports at the address in question.
func (o *offline) askTo(f address.Family, ports firewall.PortRange) reach {
	host, other := o.guessOwner()
	o.elsewhere = other && !host
	r := o.askClass(f, ports, exposure.Ranges{})
	if !other {
		o.assumed[o.To.String()+" is an address of the host itself"] = true
	}
	if host && other {
		o.elsewhere = true
		r = r.either(o.askClass(f, ports, exposure.Ranges{}))
		what := "whether " + o.To.String() + " is an address of the host itself or of another machine isn't known"
		o.assumed[what+": rules name it as either, so certain is what holds in both cases"] = true
		if !r.undecided().empty() {
			r.unknown = appendOnce(r.unknown, what)
			r.otherUnknown = true
		}
	}
	return r
}

// either joins two answers if one of them is right.
func (r reach) either(o reach) reach {
	both := r
	both.add(o)
	for n := range both.certain {
		both.certain[n] = r.certain[n].Intersect(o.certain[n])
		both.unanswered[n] = r.unanswered[n].Intersect(o.unanswered[n])
	}
	return both
}

// dialled removes destinations that no packet from outside can have.
func (o *offline) dialled(
	f address.Family,
	p firewall.Protocol,
	classes []exposure.Class,
) (out []exposure.Class) {
	never := []string{"0.0.0.0/8", "127.0.0.0/8", "::/127"}
	if o.Interface == "lo" {
		never = []string{"0.0.0.0/8", "::/128"}
	}
	if p != firewall.UDP { // connections have a single destination
		never = append(never, "224.0.0.0/4", "255.255.255.255/32", "ff00::/8")
	}
	away := exposure.SourcesOf(address.Must(never...), f)
	for _, c := range classes {
		if c.Addresses = c.Addresses.Minus(away); !c.Addresses.Empty() {
			out = append(out, c)
		}
	}
	return out
}

// widest is the range with the most addresses.
func widest(r exposure.Ranges) exposure.Range {
	best := r.At(0)
	for x := range r.All() {
		if best.Size().Compare(x.Size()) < 0 {
			best = x
		}
	}
	return best
}

// addressOf is the first address of a range.
func addressOf(f address.Family, r exposure.Range) netip.Addr {
	if f == address.IPv6 {
		return r.From.IPv6()
	}
	return r.From.IPv4()
}

// addressWords are destinations as a row names them: single addresses without a prefix length.
func addressWords(p address.Set) (words []string) {
	for i, s := range p.Strings() {
		if i == maxOwnRows {
			return append(words, fmt.Sprintf("and %d more", p.Len()-i))
		}
		words = append(words, prefixWord(s))
	}
	return words
}

// sameRows reports whether both have the same answers and declarations.
func (o *offline) sameRows(a, b []offlineRow) bool {
	return len(a) > 0 && slices.EqualFunc(a, b, func(x, y offlineRow) bool {
		return slices.Equal(x.at, y.at) && x.same(y.reach) && slices.Equal(x.decided, y.decided) &&
			slices.Equal(x.unknown, y.unknown) && slices.Equal(x.like, y.like) &&
			o.declaredAt(x).equal(o.declaredAt(y))
	})
}

func (o *offline) declaredAt(r offlineRow) declaration {
	return o.declared(r.protocol, r.first, o.Interface, r.like)
}

// judgeRow adds a row.
func (o *offline) judgeRow(r offlineRow) {
	if o.report.err != nil {
		return
	}
	if r.possible.networks() >= maxNetworks || r.certain.networks() >= maxNetworks {
		o.report.err = fmt.Errorf(
			"the sources that get to %s/%d are more than %d networks, too many to list: leave out long sets",
			r.protocol,
			r.first,
			maxNetworks,
		)
		return
	}
	x := Exposure{
		Protocol:  r.protocol.String(),
		Port:      r.first,
		Address:   "*",
		Interface: o.Interface,
		Target:    strings.Join(r.targets, ", "),
	}
	if r.last > r.first {
		x.PortLast = r.last
	}
	if r.at != nil {
		x.Addresses = r.at
		x.Address = x.Addresses[0]
	}
	o.judge(x, r.reach, r.families, r.like, nil)
}

// nameForeign lists the destinations assumed to be another machine's.
func (o *offline) nameForeign() {
	if len(o.foreign) == 0 {
		return
	}
	var list []string
	for at := range o.foreign {
		list = append(list, at)
	}
	slices.Sort(list)
	words := strings.Join(list[:min(maxNamed, len(list))], ", ")
	if more := len(list) - maxNamed; more > 0 {
		words += fmt.Sprintf(" and %d more", more)
	}
	o.assumed["only rules before routing name "+words+", so that is another machine's: "+
		"else ask with --to"] = true
}

// namesProtocol reports whether a rule names a protocol.
func namesProtocol(rs *exposure.Ruleset, p firewall.Protocol) bool {
	number := exposure.One(exposure.Number(uint64(p)))
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					m, is := s.(exposure.Match)
					if !is || m.In == nil {
						continue
					}
					for i, o := range m.Key {
						if o.Field == exposure.FieldProtocol && m.In.Len() <= fewAddresses &&
							slices.Contains(column(m.In, i).List(), number) {
							return true
						}
					}
				}
			}
		}
	}
	return false
}
