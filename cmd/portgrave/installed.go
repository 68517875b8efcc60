package main

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// installed tells what an installation has put in force: the first policy closes a port, and the
// administrator who installed must not have to find that out. The scripts of the packages run it.
func installed(inv *invocation) error {
	ops, done, err := inv.operations()
	if err != nil {
		return err
	}
	defer done()
	f, err := ops.Firewall(inv.ctx, host.FirewallRequest{Backend: inv.backend})
	if err != nil {
		return err
	}
	if !f.Present {
		inv.screen.printf(
			"portgrave: Nothing is in force yet: systemctl status portgrave.service says why.\n",
		)
		return nil
	}
	g, err := inv.history().Last()
	if err != nil {
		return err
	}
	inv.screen.printf("portgrave: In force: %s.\n"+
		"portgrave: To see it: sudo portgrave status; the policy is in %s\n"+
		"portgrave: To undo it: sudo systemctl disable --now portgrave portgrave-boot; sudo portgrave "+
		"teardown\n",
		inForceWords(g.InForce()), g.Origin)
	return nil
}

// wordyServices is how many services inForceWords tells one by one.
const wordyServices = 3

// inForceWords is what a State means for those who want in, in a line.
func inForceWords(s firewall.State) string {
	var words []string
	for _, svc := range s.Services {
		var ports []string
		for _, p := range svc.Ports {
			ports = append(ports, p.String())
		}
		are := " is "
		if len(ports) > 1 {
			are = " are "
		}
		who := policy.BuiltInName(svc.Sources)
		switch {
		case who == "any":
			who = "open to everybody"
		case svc.Sources.Len() == 0:
			who = "refused to everybody"
		case who == "":
			who = "open to " + plural(
				svc.Sources.Len(),
				"network",
			) + " of the policy and refused to everybody else"
		default:
			who = "open to " + who + " networks and refused to everybody else"
		}
		words = append(words, strings.Join(ports, ", ")+are+who)
	}
	if len(words) > wordyServices {
		words = []string{
			fmt.Sprintf("the policy's %d services decide who reaches their ports", len(words)),
		}
	}
	others := "other ports are left alone"
	if s.Unlisted == firewall.UnlistedDeny {
		others = "all other ports are refused"
	}
	return strings.Join(append(words, others), "; ")
}
