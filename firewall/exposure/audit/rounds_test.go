package audit

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
)

// crowdedHost has a number of listeners, and one port whose rules need far more work than an
// audit's budget.
func crowdedHost(listeners int) Input {
	rs := &exposure.Ruleset{}
	table := rs.AddTable(&exposure.Table{Family: exposure.FamilyIPv4, Name: "t"})
	input := table.AddChain(
		&exposure.Chain{Name: "in", Base: &exposure.Base{Hook: exposure.HookInput}},
	)
	add := func(c *exposure.Chain, s ...exposure.Statement) {
		c.AddRule(&exposure.Rule{Statements: s, Number: len(c.Rules) + 1})
	}
	port := func(p uint64) exposure.Statement {
		return exposure.In(exposure.Of(exposure.FieldDport), exposure.One(exposure.Number(p)))
	}
	to := func(chain string) exposure.Statement {
		return exposure.Verdict{Kind: exposure.VerdictJump, Chain: chain}
	}
	mark := func(n int) exposure.Statement {
		o := exposure.Of(exposure.FieldMark).XorWith(exposure.Number(uint64(n)))
		return exposure.Assign{To: exposure.FieldMark, Value: []exposure.Operand{o}}
	}
	add(input, port(1), to("c0"))
	add(input, port(2), exposure.Verdict{Kind: exposure.VerdictDrop})
	for i := range 60 {
		c := table.AddChain(&exposure.Chain{Name: fmt.Sprint("c", i)})
		if i < 59 {
			add(c, exposure.Unknown{Text: "limit"}, mark(1<<(i%32)), to(fmt.Sprint("c", i+1)))
			add(c, to(fmt.Sprint("c", i+1)))
		}
	}
	in := Input{Rules: rs, Now: time.Now(), Host: &exposure.Host{
		Interfaces: []exposure.Interface{{
			Index: 2, Name: "eth0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24")},
		}},
		Routes: []exposure.Route{{
			Table: 255,
			Dest:  netip.MustParsePrefix("198.18.0.1/32"),
			Type:  exposure.RouteLocal,
		}},
	}}
	for i := range listeners {
		in.Sockets.Listeners = append(in.Sockets.Listeners, sockets.Listener{
			Namespace: sockets.Namespace{Current: true},
			Protocol:  firewall.TCP,
			Address:   netip.MustParseAddr("0.0.0.0"),
			Port:      uint16(1 + i),
		})
	}
	return in
}

// An expensive question doesn't make cheap ones less exact, is named, and stays within the budget.
// The answers don't depend on the number of workers.
func TestListenersShareTheBudget(t *testing.T) {
	var first Report
	for n, workers := range []int{1, 4} {
		in := crowdedHost(300)
		in.Workers = workers
		report, err := Run(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range report.Exposures {
			decided := strings.Join(x.DecidedBy, "; ")
			switch exact := reflect.DeepEqual(x.Reachable.Certain, x.Reachable.Possible); {
			case x.Port == 1 && (exact || !strings.Contains(decided, "too complex")):
				t.Errorf("port 1: certain %v, by %s", x.Reachable.Certain, decided)
			case x.Port > 1 && (!exact || strings.Contains(decided, "too complex")):
				t.Errorf("port %d: certain %v, by %s", x.Port, x.Reachable.Certain, decided)
			}
		}
		if n == 0 {
			first = report
		} else if !reflect.DeepEqual(report, first) {
			t.Errorf("%d workers find something else than one", workers)
		}
	}
}

// The work for all listeners is bounded, and some budget remains for later questions.
func TestBudgetIsNotExceeded(t *testing.T) {
	in := crowdedHost(0)
	for range 500 {
		in.Sockets.Listeners = append(in.Sockets.Listeners, crowdedHost(1).Sockets.Listeners...)
	}
	a := &auditor{
		Input:     in,
		evaluator: exposure.NewEvaluator(in.Rules, in.Host),
		budget:    &exposure.Budget{Steps: reservedSteps + 2_000_000},
		shared:    &shared{},
	}
	a.collectHost()
	a.askAll(context.Background())
	if left := a.budget.Steps; left < reservedSteps || left > reservedSteps+1_500_000 {
		t.Errorf("%d steps are left", left)
	}
}
