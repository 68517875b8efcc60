package exposure

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/portgrave/portgrave/firewall/address"
)

// Evaluator answers questions about one ruleset on one host.
//
// Goals: the bounds are never wrong, and as close together as the ruleset allows. A question takes
// time in proportion to the rules that can concern it, and bounded time and memory whatever the
// ruleset is.
//
// Design: a question's sources pass through the hooks as flows (flow.go). A flow is a set of
// sources whose packets are in one place and one state (packet.go). A statement splits a flow into
// the sources for which it holds, those for which it doesn't, and those for which either is
// possible; the latter go both ways, with a doubt noted (statements.go). Flows of one state that
// meet are merged. What would not end, or grow too large, is cut short: states beyond maxStates are
// joined into one that covers them; jumps beyond maxDepth may do anything; and beyond the budget
// (budget.go) every outcome is possible for the sources not yet decided.
//
// NewEvaluator prepares what all questions share: rules by port (compile.go), sets as ranges
// (lookup.go), routes (fib.go). So make one for many questions. Ruleset and Host must not change
// afterwards. All methods are deterministic and safe for concurrent use.
type Evaluator struct {
	rules  *Ruleset
	host   *Host
	fib    *fib // nil without a host
	chains map[*Chain]*chain
	hooks  map[hookKey][]group
	// conntrack is whether connections of a family are tracked: Yes or Maybe.
	conntrack map[address.Family]Tri

	mu   sync.Mutex
	sets map[*Set]*preparedSet
	// derived is kept for all questions (derived.go), of at most maxDerived ranges.
	derived                   map[derivedKey]derived
	derivedRanges, maxDerived int
	arp                       Decider // see Ruleset.arpDecider
	seesARP, marksARP         bool    // see findARP
	// neighboursKnown: see NeighboursKnown.
	neighboursKnown bool
	memory          map[any]any
	replies         int // ranges of remembered answers
	// elements counts the elements of the ruleset's sets; maxWork and maxRanges bound a question.
	elements, maxWork, maxRanges int
	// prepared counts the ranges of plain rules (plain.go), and maxPrepared bounds them: a thousand
	// rules may look at the same long list. Rules beyond the bound run one by one.
	prepared    atomic.Int64
	maxPrepared int64
	// preparing counts the work for operands of plain rules, and maxPreparing bounds it.
	preparing    atomic.Int64
	maxPreparing int64
}

type hookKey struct {
	hook   Hook
	family address.Family
}

// NewEvaluator prepares a ruleset. host is nil for a ruleset read from files, without its host.
func NewEvaluator(rs *Ruleset, host *Host) *Evaluator {
	if rs == nil {
		rs = &Ruleset{}
	}
	e := &Evaluator{
		rules:   rs,
		host:    host,
		hooks:   map[hookKey][]group{},
		sets:    map[*Set]*preparedSet{},
		derived: map[derivedKey]derived{},
		memory:  map[any]any{},
		arp:     rs.arpDecider(),
	}
	if host != nil {
		e.fib = newFib(host)
	}
	e.elements = rs.Elements()
	e.maxWork = maxWork + stepsPerElement*e.elements
	e.maxRanges = maxRanges + rangesPerElement*e.elements
	e.maxPrepared = int64(maxRanges/4 + 2*e.elements)
	e.maxDerived = maxRanges/4 + 4*e.elements
	e.maxPreparing = int64(maxRanges + stepsPerElement/4*e.elements)
	e.compile()
	e.findARP()
	e.conntrack = map[address.Family]Tri{}
	for _, family := range address.Families {
		e.conntrack[family] = rs.tracksConnections(family)
		for _, hook := range []Hook{
			HookIngress, HookPrerouting, HookInput, HookForward, HookOutput, HookPostrouting,
			HookEgress,
		} {
			e.hooks[hookKey{hook, family}] = e.groups(hook, family)
		}
	}
	return e
}

// Evaluate is NewEvaluator and Evaluator.Evaluate, for a single question.
func Evaluate(rs *Ruleset, host *Host, q Question) (Answer, error) {
	return NewEvaluator(rs, host).Evaluate(q)
}

// Elements is how many elements the ruleset's sets have, by which a budget grows.
func (e *Evaluator) Elements() int { return e.elements }

// Evaluate answers a question. It returns an error for a question that no packet can be; a ruleset
// never causes one.
func (e *Evaluator) Evaluate(q Question) (Answer, error) { return e.EvaluateWithin(q, nil) }

// EvaluateWithin is Evaluate for a question that shares a budget with others.
func (e *Evaluator) EvaluateWithin(q Question, b *Budget) (Answer, error) {
	if err := q.check(); err != nil {
		return Answer{Question: q}, err
	}
	w := e.newWalk(q)
	w.within(b)
	w.run()
	a := w.answer() // follows the answers too
	a.Work = w.work
	b.take(w.spent)
	return a, nil
}

// check returns an error for a question that no packet can be.
func (q Question) check() error {
	switch {
	case q.Family != address.IPv4 && q.Family != address.IPv6:
		return fmt.Errorf("exposure: a question needs a family, not %d", q.Family)
	case !q.Protocol.HasPorts() && !q.Protocol.Listable():
		return fmt.Errorf(
			"exposure: a question is about a protocol that a service can list, not %s",
			q.Protocol,
		)
	case q.Destination.IsValid() && q.Destination.Is4() != (q.Family == address.IPv4):
		return fmt.Errorf("exposure: the destination %v is no %v address", q.Destination, q.Family)
	}
	if n := q.Sources.Len(); n > 0 && q.Sources.At(n-1).To.Compare(Ones(q.Family.Bits())) > 0 {
		return fmt.Errorf("exposure: the sources are no %v addresses", q.Family)
	}
	return nil
}

// remember computes something once for all questions. Each use has its own type of key.
func (e *Evaluator) remember(key any, compute func() any) any {
	e.mu.Lock()
	v, ok := e.memory[key]
	e.mu.Unlock()
	if ok {
		return v
	}
	v = compute()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.memory) < maxMemory {
		e.memory[key] = v
	}
	return v
}

// recall returns what is remembered for a key, or nil.
func (e *Evaluator) recall(key any) any {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.memory[key]
}

// maxMemory bounds what is remembered between questions.
const maxMemory = 4096

// cuts are the ranges of addresses within which all look-ups have the same result.
func (e *Evaluator) cuts(family address.Family) []Range {
	type key struct{ cuts address.Family }
	return e.remember(key{family}, func() any { return e.fib.cuts(family) }).([]Range)
}
