package exposure

import "slices"

// maxDepth bounds the depth of jumps. nf_tables allows 16 (NFT_JUMP_STACK_SIZE,
// include/net/netfilter/nf_tables.h), x_tables as many as there are chains.
const maxDepth = 128

// branch is one effect that a statement may have on a flow.
type branch struct {
	flow
	do action
	to *chain
	by string // the verdict's text, for people
}

// action is where a branch continues.
type action uint8

const (
	toNextStatement action = iota // with the next statement
	toNextRule                    // with the next rule, as the statement doesn't hold
	toAccept                      // the base chain ends
	toDrop
	toReject
	toReturn
	toJump
	toGoto
)

// runChain runs a chain. It returns the flows that come back, at its end or by return.
func (w *walk) runChain(c *chain, flows []flow) (back []flow) {
	w.running = append(w.running, c)
	defer func() { w.running = w.running[:len(w.running)-1] }()
	k := w.from(c, 0, flows)
	for len(flows) > 0 && !w.tooFar {
		i, ok := k.next()
		if !ok {
			break
		}
		if len(flows) == 1 && w.picker == nil && flows[0].packet.headerSource == sourceOwn {
			if to, done := w.runPlainRules(c, i, &k, &flows[0], &back); done {
				if flows[0].sources.Empty() {
					flows = nil
				}
				if to >= 0 {
					k = w.from(c, to, flows)
				}
				continue
			}
		}
		r := &c.rules[i]
		next := flows[:0:0]
		ran := false
		for _, f := range flows {
			w.spend(len(r.guards))
			if !w.concerns(r, f.packet) {
				next = w.gather(next, f)
				continue
			}
			ran = true
			next = w.runRule(c, r, f, next, &back)
		}
		if !ran {
			continue
		}
		flows = w.merge(next)
		if r.moves || len(flows) > 1 {
			k = w.from(c, i+1, flows)
		}
	}
	return w.merge(append(back, flows...))
}

// runPlainRules runs a flow through plain rules, from the i-th on, as many as the cursor returns in
// a row. It returns the index to go on at, −1 for what follows the cursor; false if the i-th rule
// isn't plain.
func (w *walk) runPlainRules(c *chain, i int, k *cursor, f *flow, back *[]flow) (int, bool) {
	if r := w.prepared(c).runs[w.familyIndex()][i]; r != nil {
		switch w.conditionsHold(w.plains(c)[i], f.packet) {
		case Yes:
			*f = w.applyRun(c, r, *f, back)
			return r.end(), true
		case No:
			return r.end(), true
		}
	}
	plains := w.plains(c)
	var held []int // with few sources each: a sweep over a long list takes longer than a merge
	ranges := 0    // of these
	flush := func() {
		if len(held) >= minRun {
			w.spendRanges(ranges)
			w.spend(stepsPerSwept * ranges)
			*f = w.applyRun(c, newRun(plains, held, maxNamedAmongOthers), *f, back)
			held = nil
		}
		for _, i := range held {
			w.applyPlain(c, i, f, back)
		}
		held, ranges = held[:0], 0
	}
	done := false
	for {
		p := plains[i]
		if p == nil || w.prepared(c).runs[w.familyIndex()][i] != nil {
			break
		}
		w.spend(len(p.conditions))
		t := w.conditionsHold(p, f.packet)
		if t == Maybe {
			break
		}
		done = true
		if t == Yes {
			if p.in.Len() <= maxSwept {
				if held, ranges = append(held, i), ranges+p.in.Len(); ranges >= maxHeldRanges {
					flush()
				}
			} else {
				flush()
				w.applyPlain(c, i, f, back)
			}
		}
		var ok bool
		if i, ok = k.next(); !ok {
			i = len(plains)
			break
		}
	}
	if !done {
		return 0, false
	}
	flush()
	return i, true
}

// concerns reports whether a rule may do anything to a packet, by its guards.
func (w *walk) concerns(r *rule, p *packet) bool {
	for _, g := range r.guards {
		v := w.field(p, Operand{Field: g.field})
		if v.absent == Yes || v.inAny(g.set) == No {
			return false
		}
	}
	return true
}

// runRule runs a rule on a flow. Flows that go on with the next rule are added to next, flows that
// return from the chain to back.
func (w *walk) runRule(c *chain, r *rule, f flow, next []flow, back *[]flow) []flow {
	type place struct {
		flow
		at int
	}
	todo := []place{{f, 0}}
	if w.picker != nil {
		w.picker.before = f.doubts
	}
	for len(todo) > 0 && !w.tooFar {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if p.at == len(r.Statements) {
			w.ruleStep(&p.flow, c, r, "", Yes)
			next = w.gather(next, p.flow)
			continue
		}
		w.spend(12)
		branches := w.statement(c, r, p.at, p.flow)
		branches = slices.DeleteFunc(branches, func(b branch) bool {
			return b.sources.Empty() || b.packet.unusual && w.picker != nil && w.picker.ordinary
		})
		if w.picker != nil && len(branches) > 1 && makesNoDifference(r, p.at, p.packet, branches) {
			branches = branches[:1]
		} else if pick := w.pick(len(branches)); pick >= 0 && len(branches) > 0 {
			branches = branches[pick : pick+1]
		}
		w.spend(len(branches))
		if len(branches) > maxReadings {
			branches = w.condense(branches)
		}
		for _, b := range branches {
			if b.do == toNextStatement {
				todo = append(todo, place{b.flow, p.at + 1})
			} else {
				next = w.follow(c, r, b, next, back)
			}
		}
	}
	return next
}

// makesNoDifference reports whether a packet goes on with the next rule in the same state whichever
// branch of a rule's statement it takes, as with a line that is logged at a limited rate. Then
// there is one way to tell: the first, on which the rule may match.
func makesNoDifference(r *rule, at int, before *packet, branches []branch) bool {
	for _, s := range r.Statements[at:] {
		switch s := s.(type) {
		case Match, SetUpdate:
		case NoEffect:
			if s.Header {
				return false
			}
		case Unknown:
			if s.Effect {
				return false
			}
		default:
			return false
		}
	}
	return branches[0].do == toNextStatement &&
		!slices.ContainsFunc(branches, func(b branch) bool { return !samePacket(b.packet, before) })
}

// condense joins branches that go on in the same way.
func (w *walk) condense(branches []branch) []branch {
	var out []branch
	for _, b := range branches {
		i := slices.IndexFunc(out, func(o branch) bool { return o.do == b.do && o.to == b.to })
		if i < 0 {
			out = append(out, b)
			continue
		}
		w.absorb(&out[i].flow, b.flow)
	}
	return out
}

// follow applies a branch's action.
func (w *walk) follow(c *chain, r *rule, b branch, next []flow, back *[]flow) []flow {
	by := Decider{Rule: r.Rule, Chain: c.Chain, Reason: b.by}
	switch b.do {
	case toNextRule:
		w.ruleStep(&b.flow, c, r, "no match", No)
		return w.gather(next, b.flow)
	case toAccept:
		w.ruleStep(&b.flow, c, r, b.by, Yes)
		b.credits = w.credited(&b.flow, by)
		w.accepted = w.gather(w.accepted, b.flow)
	case toDrop:
		w.ruleStep(&b.flow, c, r, b.by, Yes)
		w.finish(b.flow, Dropped, by)
	case toReject:
		w.ruleStep(&b.flow, c, r, b.by, Yes)
		w.finish(b.flow, Rejected, by)
	case toReturn:
		w.ruleStep(&b.flow, c, r, b.by, Yes)
		*back = w.gather(*back, b.flow)
	case toJump, toGoto:
		w.ruleStep(&b.flow, c, r, b.by, Yes)
		if b.to == nil || len(w.running) >= maxDepth || slices.Contains(w.running, b.to) {
			return w.unfollowedJump(c, r, b, next, back)
		}
		came := w.runChain(b.to, []flow{b.flow})
		if b.do == toGoto {
			*back = w.gather(*back, came...)
			return next
		}
		return w.gather(next, came...)
	}
	return next
}

// unfollowedJump is a jump to a missing chain, in a circle, or too deep. The kernel doesn't load
// such rules, but a file may contain them.
func (w *walk) unfollowedJump(c *chain, r *rule, b branch, next []flow, back *[]flow) []flow {
	branches := w.anyEffect(c, r, b.flow, "the chain can't be followed: "+b.by)
	pick := w.pick(len(branches))
	for i, x := range branches {
		if pick >= 0 && i != pick {
			continue
		}
		if x.do == toNextStatement || x.do == toNextRule {
			if b.do == toGoto {
				*back = w.gather(*back, x.flow)
			} else {
				next = w.gather(next, x.flow)
			}
			continue
		}
		next = w.follow(c, r, x, next, back)
	}
	return next
}
