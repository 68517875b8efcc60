package audit

import (
	"cmp"
	"context"
	"runtime"
	"sync"

	"github.com/portgrave/portgrave/firewall/exposure"
)

const (
	// maxAuditSteps is what all questions of an audit may cost together: some seconds of a processor.
	maxAuditSteps = 100_000_000
	// auditStepsPerElement is what each element of the rules' sets adds to that.
	auditStepsPerElement = 200
	// reservedSteps are left for what is asked after the listeners.
	reservedSteps = maxAuditSteps / 4
	// maxWorkers bounds the questions that are asked at a time, each of which takes memory.
	maxWorkers = 4
)

// budgetOf is what all questions of an audit may cost.
func budgetOf(e *exposure.Evaluator) *exposure.Budget {
	return &exposure.Budget{Steps: maxAuditSteps + auditStepsPerElement*e.Elements()}
}

// askAll asks who gets to each listener by each interface, on several processors: the answers are
// most of the work. They are in the order of listeners and interfaces.
//
// The listeners share the budget in rounds. In the first, each gets the same small part of it. Those
// for which that wasn't enough are asked about again with more, as many as there are steps for. So a
// cheap question is never cut for the sake of a dear one, and the answers don't depend on which worker
// is the first.
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

// round asks about listeners, each within a budget of its own, and yields what is left of these.
func (a *auditor) round(ctx context.Context, todo []int, share int, answers [][][]part) []exposure.Budget {
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
