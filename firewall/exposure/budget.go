package exposure

// Every question has a budget, so that it ends in bounded time and memory whatever the ruleset is:
// steps of work, and ranges made. Both are counted, not measured, so that the same ruleset has the
// same answer on a slow machine and on a fast one. A question that exceeds its budget is still
// answered: every source not yet decided may have any outcome, and the answer names the chain.

const (
	// maxWork bounds the steps of one question, each of some tens of nanoseconds: rules run,
	// elements looked at, ranges copied. A question about 10 000 rules takes some tens of
	// thousands.
	maxWork = 10_000_000
	// maxRanges bounds the ranges that a question makes, of 32 bytes each.
	maxRanges = 1 << 20
	// stepsPerElement and rangesPerElement are what each element of the ruleset's sets adds: a long
	// list is copied at every look-up, and a list held by prefix length takes dozens.
	stepsPerElement  = 64
	rangesPerElement = 64
	// maxPieces bounds the ways that an answer tells apart, of some 500 bytes each. Those of a real
	// ruleset are dozens.
	maxPieces = 1 << 12

	// Costs in steps of what takes much time, or memory for as long as the question lasts.
	costDoubt  = 32
	costEnding = 32
	costState  = 16
)

// tooComplex is the reason of a question that exceeded its budget.
const tooComplex = "undecided: the ruleset is too complex"

// tooManyWays is the reason where an answer would distinguish more than maxPieces ways.
const tooManyWays = "undecided: packets may go too many ways"

// Budget bounds what several questions cost together. The zero value allows nothing. Only one
// goroutine may use it at a time.
type Budget struct {
	// Steps is how many are left.
	Steps int
	// Cut is how many questions were answered in part for want of steps.
	Cut int
}

// take subtracts what a question cost.
func (b *Budget) take(s spent) {
	if b == nil {
		return
	}
	b.Steps = max(b.Steps-s.work, 0)
	if s.work > s.limit && s.limit < s.most {
		b.Cut++
	}
}

// spent is what a question has cost so far.
type spent struct {
	work   int
	limit  int // of work
	most   int // the limit for a question without a shared budget
	ranges int
	tooFar bool   // beyond the budget
	cutAt  *chain // the chain that was running at that moment
}

// undecided are sources that the question's budget didn't suffice to decide.
type undecided struct {
	sources Ranges
	by      Decider
}

// within also bounds the work by what is left of a budget.
func (w *walk) within(b *Budget) {
	if b != nil {
		w.limit = min(w.limit, b.Steps)
	}
}

// spend counts work.
func (w *walk) spend(n int) {
	w.work += n + 1
	if w.work > w.limit && !w.tooFar {
		w.cut()
	}
}

// spendRanges counts ranges that were made.
func (w *walk) spendRanges(n int) {
	w.spend(n)
	w.ranges += n
	if w.ranges > w.e.maxRanges && !w.tooFar {
		w.cut()
	}
}

// cut notes that the budget is spent, and where.
func (w *walk) cut() {
	w.tooFar = true
	if n := len(w.running); n > 0 {
		w.cutAt = w.running[n-1]
	}
}

// finishUndecided ends flows at chains that the budget doesn't suffice for.
func (w *walk) finishUndecided(g group, flows []flow) {
	w.ended = w.ended[:w.endedBefore]
	u := undecided{by: Decider{Reason: tooComplex}}
	if w.cutAt != nil {
		u.by.Chain = w.cutAt.Chain
	}
	if len(g.orders) > 1 {
		u.by.Reason += ", as are the orders in which chains of one priority may run"
	}
	var all []Ranges
	for _, f := range flows {
		all = append(all, f.sources)
	}
	if u.sources = unionOf(all); !u.sources.Empty() {
		w.undecided = append(w.undecided, u)
	}
}

// tooMany leaves sources undecided that would need more than maxPieces ways.
func (w *walk) tooMany(sources []Ranges) {
	if len(sources) > 0 {
		by := Decider{Reason: tooManyWays}
		w.undecided = append(w.undecided, undecided{unionOf(sources), by})
	}
}

// Elements counts the elements of the sets that rules look up.
func (rs *Ruleset) Elements() int {
	n := 0
	seen := map[*Set]bool{}
	count := func(key []Operand, s *Set) {
		switch {
		case s == nil:
		case s.Name == "" && len(key) == 1 && isAddress(key[0].Field): // few rules share one
			n += s.Len()
		case !seen[s]:
			seen[s] = true
			n += s.Len()
		}
	}
	for _, t := range rs.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				for _, s := range r.Statements {
					switch s := s.(type) {
					case Match:
						count(s.Key, s.In)
					case VerdictMap:
						count(s.Key, s.In)
					}
				}
			}
		}
	}
	return n
}
