package exposure

import (
	"iter"
	"math"
	"slices"
	"sort"
	"sync"
)

// chain is a Chain prepared for evaluation.
type chain struct {
	*Chain
	table *Table
	rules []rule
	prepared
	// mirror is the same for answers. It is built for the first answer.
	mirror   prepared
	mirrored sync.Once
	// effects: a rule here, or in a chain that it jumps to, changes something that other chains may
	// read.
	effects bool
}

// prepared is an index of a chain's rules, for first packets or for answers.
type prepared struct {
	// everywhere lists the rules that may concern any destination port; byPort those that name a
	// few ports. Both are in order. So a question's work is in proportion to the rules that can
	// concern it.
	everywhere []int
	byPort     []portRule // ordered by port, too
	// plains and runs prepare rules that only look at the source (plain.go), by family.
	plains [2][]*plain
	runs   [2]map[int]*run
}

// portRule is a rule that names a port: the port above the rule's index, as one number is sorted
// faster than two.
type portRule uint64

func portRuleOf(port uint16, rule int) portRule { return portRule(port)<<32 | portRule(rule) }

func (p portRule) rule() int { return int(p & math.MaxUint32) }

// ofPort returns the rules that name a port, from a rule on.
func (c *prepared) ofPort(port uint16, from int) []portRule {
	first, _ := slices.BinarySearch(c.byPort, portRuleOf(port, from))
	end, _ := slices.BinarySearch(c.byPort, portRule(port)<<32|math.MaxUint32)
	return c.byPort[first:end]
}

// rule is a Rule prepared for evaluation. There may be a hundred thousand.
type rule struct {
	*Rule
	guards []*guard
	to     *chain // where its first jump or goto leads; nil if that is missing
	avoid  avoidable
	// moves: the rule may change the destination port.
	moves bool
}

// guard is a match that a rule begins with, on a field that is equal for all sources. The rule does
// nothing if it fails.
type guard struct {
	field Field
	set   Ranges
}

// maxPorts is the most ports for which a rule is indexed by port.
const maxPorts = 64

func (e *Evaluator) compile() {
	e.chains = map[*Chain]*chain{}
	for _, t := range e.rules.Tables {
		for _, c := range t.Chains {
			e.chains[c] = &chain{Chain: c}
		}
	}
	for _, t := range e.rules.Tables {
		for _, c := range t.Chains {
			e.compileChain(t, e.chains[c])
		}
	}
	for _, t := range e.rules.Tables {
		markEffects(t, e.chains)
	}
}

func (e *Evaluator) compileChain(t *Table, c *chain) {
	c.table = t
	c.rules = make([]rule, len(c.Rules))
	shared := sharedGuards{}
	for i, r := range c.Rules {
		cr := rule{Rule: r, avoid: avoidableMatch(r)}
		jumps := false
		for _, s := range r.Statements {
			switch s := s.(type) {
			case Verdict:
				if !jumps && (s.Kind == VerdictJump || s.Kind == VerdictGoto) {
					cr.to, jumps = e.chains[t.Chain(s.Chain)], true
				}
			case VerdictMap, Unknown, Assign:
				cr.moves = true
			}
		}
		cr.guards = e.guards(r, shared)
		c.rules[i] = cr
	}
	c.prepared = e.prepare(c, false)
}

// sharedGuards are guards by their matches, as most rules share those with others.
type sharedGuards map[guardKey]*guard

type guardKey struct {
	field Field
	in    *Set
}

// guards returns the guards of a rule.
func (e *Evaluator) guards(r *Rule, shared sharedGuards) []*guard {
	var buffer [8]*guard
	out := buffer[:0]
	for m := range guardMatches(r) {
		key := guardKey{m.Key[0].Field, m.In}
		g := shared[key]
		if g == nil {
			set := e.peekSet(m.In)
			if set.broken {
				continue
			}
			g = &guard{key.field, set.flat.Union(set.loose)}
			if len(shared) < maxShared {
				shared[key] = g
			}
		}
		out = append(out, g)
	}
	return slices.Clone(out)
}

// guardMatches yields the matches of a rule that are its guards.
func guardMatches(r *Rule) iter.Seq[Match] {
	return func(yield func(Match) bool) {
		for _, s := range r.Statements {
			m, ok := s.(Match)
			if _, idle := s.(NoEffect); idle {
				continue
			}
			if !ok {
				if u, is := s.(Unknown); is && !u.Effect {
					continue
				}
				return
			}
			if m.isGuard() && !yield(m) {
				return
			}
		}
	}
}

// isGuard reports whether a match can be a guard.
func (m Match) isGuard() bool {
	if m.Not || len(m.Key) != 1 || m.In == nil || m.In.Width != 1 || m.In.Grows ||
		m.In.Unknown != "" {
		return false
	}
	switch m.Key[0].Field {
	case FieldInName, FieldProtocol, FieldSport, FieldDport, FieldDest4, FieldDest6, FieldNFProto:
		return m.Key[0].asIs()
	}
	return false
}

// prepare indexes a chain's rules for first packets or for answers.
func (e *Evaluator) prepare(c *chain, answers bool) prepared {
	p := prepared{}
	port := FieldDport
	if answers {
		port = FieldSport
	}
	for i := range c.rules {
		p.index(i, c.rules[i].guards, port)
	}
	slices.Sort(p.byPort)
	e.preparePlain(c, &p, answers)
	return p
}

// index files a rule under its ports.
func (c *prepared) index(i int, guards []*guard, port Field) {
	for _, g := range guards {
		if g.field != port {
			continue
		}
		if ports, ok := fewPorts(g.set); ok {
			for _, p := range ports {
				c.byPort = append(c.byPort, portRuleOf(p, i))
			}
			return
		}
	}
	c.everywhere = append(c.everywhere, i)
}

func fewPorts(s Ranges) ([]uint16, bool) {
	var out []uint16
	for r := range s.All() {
		from, ok := r.From.Uint64()
		to, fits := r.To.Uint64()
		if from > 65535 {
			break
		}
		if !ok || !fits || to-from >= maxPorts || len(out)+int(to-from) >= maxPorts {
			return nil, false
		}
		for p := from; p <= min(to, 65535); p++ {
			out = append(out, uint16(p))
		}
	}
	return out, true
}

// cursor iterates over a chain's rules that can concern a destination port, or over all.
type cursor struct {
	c       *chain
	port    Range
	all     bool
	a       []int
	b       []portRule
	current int
}

// from returns a cursor that starts at a rule.
func (w *walk) from(c *chain, i int, flows []flow) cursor {
	k := cursor{c: c, current: i, all: true}
	if len(flows) > 0 {
		k.port = flows[0].packet.now.port
		port, ok := k.port.From.Uint64()
		k.all = !ok || k.port.From != k.port.To || port > 65535 || !samePort(flows, k.port)
		if !k.all {
			p := w.prepared(c)
			k.a = p.everywhere[sort.SearchInts(p.everywhere, i):]
			k.b = p.ofPort(uint16(port), i)
		}
	}
	return k
}

func samePort(flows []flow, port Range) bool {
	return !slices.ContainsFunc(flows, func(f flow) bool { return f.packet.now.port != port })
}

// next returns the next rule. It is false at the end.
func (k *cursor) next() (int, bool) {
	if k.all {
		k.current++
		return k.current - 1, k.current <= len(k.c.rules)
	}
	switch {
	case len(k.a) == 0 && len(k.b) == 0:
		return 0, false
	case len(k.b) == 0 || len(k.a) > 0 && k.a[0] < k.b[0].rule():
		k.current, k.a = k.a[0], k.a[1:]
	default:
		k.current, k.b = k.b[0].rule(), k.b[1:]
	}
	k.current++
	return k.current - 1, true
}

// markEffects finds the chains of a table that change what others may read.
func markEffects(t *Table, chains map[*Chain]*chain) {
	into := map[*Chain][]*Chain{} // by chain: the chains that jump to it
	var todo []*Chain
	verdicts := verdictLists{}
	for _, c := range t.Chains {
		own := false
		leads := func(v Verdict) {
			own = own || v.Kind == VerdictQueue
			if v.Kind != VerdictJump && v.Kind != VerdictGoto {
				return
			}
			if to := t.Chain(v.Chain); to != nil {
				into[to] = append(into[to], c)
			} else {
				own = true
			}
		}
		for _, r := range c.Rules {
			for _, s := range r.Statements {
				switch s := s.(type) {
				case Verdict:
					leads(s)
				case VerdictMap:
					if s.In != nil {
						for _, v := range verdicts.of(s.In) {
							leads(v)
						}
						own = own || s.In.Unknown != "" || s.In.Grows
					}
				case Assign, NAT, TProxy, NoTrack:
					own = true
				case Unknown:
					own = own || s.Effect
				}
			}
		}
		if own {
			chains[c].effects = true
			todo = append(todo, c)
		}
	}
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, from := range into[c] {
			if !chains[from].effects {
				chains[from].effects = true
				todo = append(todo, from)
			}
		}
	}
}
