package exposure

// Messages by which neighbours find each other are followed by walks of their own, which the
// question pays for.

// discovered is what walks of messages found, and their original cost.
type discovered struct {
	value any
	work  int
}

// discover computes something by walks of messages, with a copy of the walk that has what is left
// of the budget. It counts at its original cost if it is remembered, and isn't remembered if the
// budget didn't suffice: see replies.
func (w *walk) discover(key any, compute func(*walk) any) any {
	known, ok := w.e.recall(key).(discovered)
	if !ok || known.work > w.left() {
		n := &walk{e: w.e, q: w.q, in: w.in}
		n.limit, n.most = w.left(), w.most
		known = discovered{compute(n), 0}
		if known.work = n.work; !n.tooFar {
			w.e.remember(key, func() any { return known })
		}
	}
	w.spend(known.work)
	return known.value
}

// left is what is left of the budget.
func (w *walk) left() int { return max(w.limit-w.work, 0) }

// pay counts what another walk has cost.
func (w *walk) pay(m *walk) {
	w.spend(m.work)
	if m.tooFar && !w.tooFar {
		w.cut()
	}
}
