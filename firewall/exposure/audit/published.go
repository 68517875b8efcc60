package audit

import (
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// portRange is a range of ports that a translation may concern.
type portRange struct {
	protocol    firewall.Protocol
	first, last uint16
}

// maxPublished bounds the ranges of ports that are asked about one by one.
const maxPublished = 5000

// published finds the ports that a rule may translate: those for which a DNAT, redirect, tproxy or
// rewrite of the destination is reachable from a base chain at prerouting or ingress. It reads only
// protocols and ports of rules, so it finds too many rather than too few; the evaluator then
// decides which are translated. Neither a rule nor a range in told distinguishes ports within a
// range. cut: there were more than maxPublished.
func published(rs *exposure.Ruleset, told []firewall.PortRange) (ports []portRange, cut bool) {
	return search(rs).ports(rs, told)
}

// search visits all rules that a packet can meet before routing.
func search(rs *exposure.Ruleset) *finder {
	f := &finder{
		found:         map[uint8]exposure.Ranges{},
		seen:          map[visit]int{},
		directTargets: map[directTarget]exposure.Ranges{},
		virtual:       map[destination]exposure.Ranges{},
	}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			if c.Base != nil && !t.Dormant &&
				(c.Base.Hook == exposure.HookPrerouting || c.Base.Hook == exposure.HookIngress) {
				f.chain(c, anyConcern(), 0)
			}
		}
	}
	if f.tooFar() {
		f.note(anyConcern())
	}
	return f
}

// ports returns the ranges found, as described at published.
func (f *finder) ports(
	rs *exposure.Ruleset,
	told []firewall.PortRange,
) (ports []portRange, cut bool) {
	starts := startsOf(rs, told)
	for protocol, set := range f.found {
		for r := range set.All() {
			from, _ := r.From.Uint64()
			to, _ := r.To.Uint64()
			few := to-from < 16 // a list of ports rather than a range
			for first, port := from, from; port <= to; port++ {
				if port == to || few || starts == nil || starts[port+1] {
					ports = append(
						ports, portRange{firewall.Protocol(protocol), uint16(first), uint16(port)},
					)
					first = port + 1
				}
			}
		}
	}
	slices.SortFunc(ports, func(a, b portRange) int {
		return int(a.protocol)<<16 + int(a.first) - int(b.protocol)<<16 - int(b.first)
	})
	if len(ports) > maxPublished {
		return ports[:maxPublished], true
	}
	return ports, false
}

// concern is the protocols, ports and destinations that can reach a rule. Correlations between them
// aren't kept.
type concern struct{ protocols, ports, dest4, dest6 exposure.Ranges }

func anyConcern() concern {
	return concern{exposure.NewRanges(exposure.Full(8)), exposure.NewRanges(exposure.Full(16)),
		exposure.NewRanges(exposure.Full(32)), exposure.NewRanges(exposure.Full(128))}
}

type visit struct {
	chain *exposure.Chain
	key   string
}

type finder struct {
	found map[uint8]exposure.Ranges // by protocol
	// directTargets are the targets that rules name, with the ports that lead there.
	directTargets map[directTarget]exposure.Ranges
	// virtual are the single destinations that rules translate, with their ports.
	virtual map[destination]exposure.Ranges
	seen    map[visit]int
	steps   int
}

// Bounds on the search, against hostile rulesets. Beyond them everything counts as concerned, which
// is safe.
const (
	maxDepth = 32
	maxSteps = 2_000_000
)

func (f *finder) chain(c *exposure.Chain, in concern, depth int) {
	v := visit{c, keyOf(in)}
	if c == nil || f.seen[v] > 0 || in.empty() {
		return
	}
	f.seen[v]++
	if depth > maxDepth {
		return // the kernel jumps at most 16 deep
	}
	for _, r := range c.Rules {
		f.rule(c, r, in, depth)
	}
}

func keyOf(c concern) string {
	var b []byte
	for _, s := range []exposure.Ranges{c.protocols, c.ports} {
		for r := range s.All() {
			from, _ := r.From.Uint64()
			to, _ := r.To.Uint64()
			b = append(b, byte(from>>8), byte(from), byte(to>>8), byte(to))
		}
		b = append(b, '|')
	}
	for _, s := range []exposure.Ranges{c.dest4, c.dest6} {
		for r := range s.All() {
			b = append(append(b, r.From.String()...), '-')
			b = append(append(b, r.To.String()...), ',')
		}
		b = append(b, '|')
	}
	return string(b)
}

func (c concern) empty() bool {
	return c.protocols.Empty() || c.ports.Empty() || c.dest4.Empty() && c.dest6.Empty()
}

// tooFar reports whether the search has taken too many steps.
func (f *finder) tooFar() bool { return f.steps > maxSteps }

func (f *finder) rule(c *exposure.Chain, r *exposure.Rule, in concern, depth int) {
	for _, s := range r.Statements {
		if f.steps++; f.tooFar() {
			return
		}
		switch s := s.(type) {
		case exposure.Match:
			if s.Not {
				if len(s.Key) == 1 && s.In.Unknown == "" {
					in = in.narrow(s.Key[0], func() exposure.Ranges { return complement(s.Key[0], s.In) })
				}
				continue
			}
			for i, o := range s.Key {
				in = in.narrow(o, func() exposure.Ranges { return column(s.In, i) })
			}
		case exposure.VerdictMap:
			if s.In == nil || s.In.Unknown != "" || s.In.Grows {
				f.anywhere(c, in, depth)
				continue
			}
			for i, box := range s.In.All() {
				if i >= len(s.In.Verdicts) || !leadsOn(s.In.Verdicts[i]) {
					continue
				}
				if f.steps++; f.tooFar() {
					return
				}
				to := in
				for column, o := range s.Key {
					to = to.narrow(o, func() exposure.Ranges { return exposure.NewRanges(box[column]) })
				}
				f.verdict(c, s.In.Verdicts[i], to, depth)
			}
			if s.In.Default && len(s.In.Verdicts) > s.In.Len() {
				f.verdict(c, s.In.Verdicts[s.In.Len()], in, depth)
			}
		case exposure.Verdict:
			f.verdict(c, s, in, depth)
		case exposure.NAT:
			if s.Kind == exposure.NATDestination || s.Kind == exposure.NATRedirect {
				f.note(in)
				f.noteNAT(s, in)
			}
		case exposure.TProxy:
			f.note(in)
		case exposure.Assign:
			if s.To == exposure.FieldDest4 || s.To == exposure.FieldDest6 ||
				s.To == exposure.FieldDport {
				f.note(in)
			}
		}
		if in.empty() {
			return
		}
	}
}

func (f *finder) verdict(c *exposure.Chain, v exposure.Verdict, in concern, depth int) {
	if leadsOn(v) && c.Table != nil {
		f.chain(c.Table.Chain(v.Chain), in, depth+1)
	}
}

// anywhere follows a verdict map that isn't known in full: it may lead to any chain of its table.
func (f *finder) anywhere(c *exposure.Chain, in concern, depth int) {
	if c.Table == nil {
		return
	}
	for _, to := range c.Table.Chains {
		if to.Base == nil {
			f.verdict(c, exposure.Verdict{Kind: exposure.VerdictJump, Chain: to.Name}, in, depth)
		}
	}
}

// leadsOn reports whether a verdict leads to another chain.
func leadsOn(v exposure.Verdict) bool {
	return v.Kind == exposure.VerdictJump || v.Kind == exposure.VerdictGoto
}

func (f *finder) note(in concern) {
	for _, p := range []firewall.Protocol{firewall.TCP, firewall.UDP, firewall.SCTP} {
		if in.protocols.Contains(exposure.Number(uint64(p))) {
			f.found[uint8(p)] = f.found[uint8(p)].Union(in.ports)
		}
	}
}

// narrow limits the concern to an operand's values. It calls to only for protocol, port and
// destination, as a set of sources may have a million elements.
func (c concern) narrow(o exposure.Operand, to func() exposure.Ranges) concern {
	plain := exposure.Of(o.Field)
	if o.Field != plain.Field || o.Shift != 0 || o.Clear != (exposure.Value{}) ||
		o.Xor != (exposure.Value{}) {
		return c
	}
	switch o.Field {
	case exposure.FieldProtocol:
		c.protocols = c.protocols.Intersect(to())
	case exposure.FieldDport:
		c.ports = c.ports.Intersect(to())
	case exposure.FieldDest4:
		c.dest4, c.dest6 = c.dest4.Intersect(to()), exposure.Ranges{}
	case exposure.FieldDest6:
		c.dest6, c.dest4 = c.dest6.Intersect(to()), exposure.Ranges{}
	}
	return c
}

// column is the union of a column of a set, or everything if the set is unknown or may grow.
func column(s *exposure.Set, i int) exposure.Ranges {
	if s.Unknown != "" || s.Grows || s.Default {
		return exposure.NewRanges(exposure.Full(128))
	}
	var list []exposure.Range
	for _, box := range s.All() {
		if i < len(box) {
			list = append(list, box[i])
		}
	}
	return exposure.NewRanges(list...)
}

func complement(o exposure.Operand, s *exposure.Set) exposure.Ranges {
	all := exposure.NewRanges(exposure.Full(o.Width()))
	if s.Grows || s.Shrinks || s.Width != 1 {
		return all
	}
	return all.Minus(column(s, 0))
}

// withoutTranslation is the ruleset without rules that send packets elsewhere: what a host firewall
// assumes that it guards.
func withoutTranslation(rs *exposure.Ruleset) *exposure.Ruleset {
	out := &exposure.Ruleset{Missing: rs.Missing}
	for _, t := range rs.Tables {
		fresh := out.AddTable(
			&exposure.Table{
				System:  t.System,
				Family:  t.Family,
				Name:    t.Name,
				Dormant: t.Dormant,
				Sets:    t.Sets,
				Others:  t.Others,
				Origin:  t.Origin,
			},
		)
		for _, c := range t.Chains {
			chain := fresh.AddChain(&exposure.Chain{Name: c.Name, Base: c.Base, Origin: c.Origin})
			for _, r := range c.Rules {
				rule := *r
				rule.Statements = slices.Clone(r.Statements)
				for i, s := range rule.Statements {
					switch s := s.(type) {
					case exposure.NAT:
						if s.Kind == exposure.NATDestination || s.Kind == exposure.NATRedirect {
							rule.Statements[i] = exposure.Verdict{Kind: exposure.VerdictAccept}
						}
					case exposure.TProxy:
						rule.Statements[i] = exposure.NoEffect{Text: "tproxy"}
					}
				}
				chain.AddRule(&rule)
			}
		}
	}
	return out
}
