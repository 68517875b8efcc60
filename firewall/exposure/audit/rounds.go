package audit

import (
	"cmp"
	"context"
	"runtime"
	"sync"

	"github.com/portgrave/portgrave/firewall/exposure"
)

const (
	// maxAuditSteps bounds the cost of all questions of an audit: some seconds of one processor.
	maxAuditSteps = 100_000_000
	// auditStepsPerElement is added for each element of the rules' sets.
	auditStepsPerElement = 200
	// reservedSteps are reserved for the questions after the listeners.
	reservedSteps = maxAuditSteps / 4
	// maxWorkers bounds the concurrent questions, as each takes memory.
	maxWorkers = 4
)

// budgetOf is the budget of all questions of an audit.
func budgetOf(e *exposure.Evaluator) *exposure.Budget {
	return &exposure.Budget{Steps: maxAuditSteps + auditStepsPerElement*e.Elements()}
}

// askAll asks which sources get to each listener by each interface, on several processors, as these
// answers are most of the work. They are in the order of listeners and interfaces.
//
// The listeners share the budget in rounds. In the first round, each gets the same small share.
// Questions that need more are asked again with larger shares, as long as steps remain. So an
// expensive question never cuts a cheap one short, and the answers don't depend on the order of
// workers.
func (a *auditor) askAll(ctx context.Context) [][][]part {
	answers := make([][][]part, len(a.listeners))
	todo := make([]int, len(a.listeners))
	for n := range todo {
		todo[n] = n
	}
	share := (a.budget.Steps - reservedSteps) / 3 / max(len(todo), 1)
	for len(todo) > 0 && ctx.Err() == nil {
		var again []int
		for len(todo) > 0 {
			n := min(len(todo), (a.budget.Steps-reservedSteps)/max(share, 1))
			if n <= 0 || ctx.Err() != nil {
				return answers
			}
			for i, b := range a.round(ctx, todo[:n], share, answers) {
				a.budget.Steps -= share - b.Steps
				if b.Cut > 0 {
					again = append(again, todo[i])
				}
			}
			todo = todo[n:]
		}
		todo, share = again, share*8
	}
	return answers
}

// round asks about listeners, each within a budget of its own, and returns what remains of the
// budgets.
func (a *auditor) round(
	ctx context.Context,
	todo []int,
	share int,
	answers [][][]part,
) []exposure.Budget {
	budgets := make([]exposure.Budget, len(todo))
	one := func(i int) {
		budgets[i].Steps = share
		asking := *a
		asking.budget = &budgets[i]
		answers[todo[i]] = asking.askAbout(a.listeners[todo[i]])
	}
	if a.Workers == 1 {
		for i := range todo {
			if ctx.Err() == nil {
				one(i)
			}
		}
		return budgets
	}
	next := make(chan int)
	var workers sync.WaitGroup
	for range cmp.Or(a.Workers, min(runtime.GOMAXPROCS(0), maxWorkers)) {
		workers.Go(func() {
			for i := range next {
				one(i)
			}
		})
	}
	for i := range todo {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	return budgets
}
