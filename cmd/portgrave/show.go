package main

import (
	"fmt"
	"slices"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// shown is what a generation holds. Its JSON is a contract.
type shown struct {
	host.Entry
	InForce bool `json:"in_force"`
	// Holds is what the generation enforces, each service as if it were new, leases of then too.
	Holds []policydiff.Change `json:"holds"`
}

// showGeneration prints what a generation holds, in the words of its policy: the one that is named,
// or the newest.
func showGeneration(inv *invocation) error {
	wanted := 0
	if word := inv.cli.Args().First(); word != "" {
		var ok bool
		if wanted, ok = generationNumber(word); !ok || wanted == 0 {
			return usagef("%q is not a generation number: write portgrave show 3; "+
				"portgrave history lists them", word)
		}
	}
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	result, err := find(inv, ops, wanted)
	if err != nil {
		return err
	}
	zero := 0
	q := host.PlanRequest{Backend: result.Backend, From: &zero, To: &result.Generation,
		All: inv.cli.Bool("all")}
	if inv.daemon != nil && inv.daemon.Version != version { // an older one doesn't know the key
		q.All = false
	}
	d, err := ops.Plan(inv.ctx, q)
	if err != nil {
		return err
	}
	result.Holds = d.Services
	if inv.screen.json {
		return inv.screen.object(result)
	}
	printShown(inv, result)
	return nil
}

// find looks a generation up in the history; 0 is the newest.
func find(inv *invocation, ops host.Operations, wanted int) (shown, error) {
	h, err := ops.History(inv.ctx)
	if err != nil {
		return shown{}, err
	}
	if h.Error != "" {
		inv.screen.warnf("%s", h.Error)
	}
	if len(h.Generations) == 0 {
		return shown{}, fmt.Errorf("nothing has been applied yet: run portgrave apply first")
	}
	i := slices.IndexFunc(h.Generations, func(e host.Entry) bool {
		return wanted == 0 || e.Generation == wanted
	})
	if i < 0 {
		return shown{}, fmt.Errorf(
			"generation %d doesn't exist, or has been pruned: see portgrave history", wanted)
	}
	return shown{Entry: h.Generations[i], InForce: i == 0 && !h.Generations[i].TornDown}, nil
}

func printShown(inv *invocation, g shown) {
	s := inv.screen
	p := newPlanPrinter(s, inv.cli.Bool("all"), g.Holds)
	head := fmt.Sprintf("Generation %d, applied %s by %s", g.Generation, moment(g.Time),
		dash(printable(g.User)))
	if g.From != "" {
		head += " from " + g.From
	}
	if g.Reason != "" {
		head += ": " + printable(g.Reason)
	}
	p.wrap(head)
	switch {
	case g.TornDown:
		p.wrap("It removed every rule of portgrave.")
		return
	case !g.InForce:
		p.wrap("It is not in force any more: portgrave history lists what came after.")
	case !g.Confirmed:
		p.wrap("It is in force, and is taken back at " + moment(g.ConfirmBy) +
			" unless portgrave confirm is run.")
	default:
		p.wrap("It is in force.")
	}
	p.wrap(fmt.Sprintf("Its policy is %s, enforced through %s.", g.Origin, g.Backend))
	if len(g.Holds) == 0 {
		p.wrap("It lists no service: every port is left alone.")
	}
	for _, c := range g.Holds {
		var parts []string
		if c.Service == "" {
			for _, x := range c.Settings {
				parts = append(parts, x.Key+" "+x.To)
			}
		} else {
			parts = p.parts(c)
		}
		p.line(" ", "", p.head(c), parts)
		p.sources(c)
	}
}
