package xt

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// Under another refuse the whole tree stands in another table. To people nothing happens to sources
// and ports, and what was counted of them is kept.
func TestTreeMovesWithItsCounters(t *testing.T) {
	for _, v := range variants {
		for _, from := range []firewall.Refuse{firewall.RefuseDrop, firewall.RefuseReject} {
			to := map[firewall.Refuse]firewall.Refuse{
				firewall.RefuseDrop:   firewall.RefuseReject,
				firewall.RefuseReject: firewall.RefuseDrop,
			}[from]
			k := newFakeKernel(v)
			before, after := stateOf(t, from, service(t, 0)), stateOf(t, to, service(t, 0))
			backendtest.Apply(t, withKernel(k), &before)
			plan := planOf(t, k, &after)
			for _, c := range plan.Changes {
				if c.Object == firewall.ObjectElement {
					t.Errorf("%s to %s: %s", from, to, c)
				}
			}
			moved := map[firewall.Refuse]string{
				firewall.RefuseDrop:   mangle,
				firewall.RefuseReject: filter,
			}[to]
			for _, s := range plan.Program.(work).steps {
				for _, counted := range []string{
					"[1:40] -A PORTGRAVE-A-guarded -j RETURN\n",
					"[1:40] -A PORTGRAVE-R-guarded -m comment --comment refused\n",
				} {
					if s.table == moved && !strings.Contains(string(s.input), counted) {
						t.Errorf("%s to %s, %s: no %q in\n%s", from, to, s.what, counted, s.input)
					}
					if s.table == security && strings.Contains(string(s.input), counted) {
						t.Errorf("%s to %s: table security counts too: %q", from, to, counted)
					}
				}
			}
		}
	}
}

// What table security repeats of table filter is one change to people; what differs in it alone is
// another.
func TestTableSecurityIsNotSaidTwice(t *testing.T) {
	k := newFakeKernel(nfVariant)
	state := stateOf(t, firewall.RefuseReject, service(t, 0))
	backendtest.Apply(t, withKernel(k), &state)
	more := service(t, 0)
	more.Sources = more.Sources.Union(address.Must("10.1.0.0/16"))
	next := stateOf(t, firewall.RefuseReject, more)
	if plan := planOf(t, k, &next); len(plan.Changes) != 1 ||
		plan.Changes[0].String() != "add element of guarded ipv4: 10.1.0.0/16" {
		t.Errorf("one source more:\n%s", backendtest.Changes(plan))
	}
	delete(k.tables, tableKey{nfVariant, address.IPv4, security})
	if plan := planOf(t, k, &state); plan.InSync() ||
		!strings.Contains(backendtest.Changes(plan), "iptables-nft table security") {
		t.Errorf("table security lost:\n%s", backendtest.Changes(plan))
	}
}

func planOf(t *testing.T, k *fakeKernel, want *firewall.State) firewall.Plan {
	t.Helper()
	b := withKernel(k)
	seen, err := b.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := b.Diff(want, seen, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return plan
}
