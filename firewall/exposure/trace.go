package exposure

// oracle picks one way wherever there are several, so that a walk follows a single one: see Explain.
type oracle struct {
	picks, options []int
	next           int
	steps          []Step
}

// pick is which of n ways to follow; −1 for all of them.
func (w *walk) pick(n int) int {
	o := w.oracle
	if o == nil || n < 2 {
		return -1
	}
	if o.next == len(o.picks) {
		o.picks, o.options = append(o.picks, 0), append(o.options, n)
	}
	o.next++
	return o.picks[o.next-1]
}

// step notes what happened to a flow, for Explain. c is nil for routing.
func (w *walk) step(f *flow, c *chain, effect string, t Tri) {}

func (w *walk) ruleStep(f *flow, c *chain, r *rule, effect string, t Tri) {}
