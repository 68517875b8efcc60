package xt

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// asking is a State that remembers multicast questions.
func asking(t testing.TB, connected ...string) firewall.State {
	t.Helper()
	var b address.Builder
	for _, p := range connected {
		if err := b.Add(netip.MustParsePrefix(p)); err != nil {
			t.Fatal(err)
		}
	}
	return backendtest.Canonical(t, firewall.State{Unlisted: firewall.UnlistedDeny,
		Refuse: firewall.RefuseReject, Established: firewall.EstablishedCut,
		Essentials: firewall.AllEssentials, Connected: b.Set()})
}

// What packets put into the sets of questions is no drift. A set of another shape is: it is made
// anew although rules look it up, as are those of a version that remembers longer.
func TestSetsOfQuestions(t *testing.T) {
	onBoth(t, func(t *testing.T, v variant) {
		b, state := open(t, v), asking(t, "192.0.2.0/24", "fe80::/64")
		backendtest.Apply(t, b, &state)
		run(
			t,
			v,
			`ipset add PORTGRAVE-O4 192.0.2.1,udp:40001; ipset add PORTGRAVE-P6 fe80::1,udp:5353`,
		)
		if plan := backendtest.Plan(t, b, &state); !plan.InSync() {
			t.Errorf("after questions: %s", backendtest.Changes(plan))
		}

		other := asking(t, "192.0.2.0/24", "198.51.100.0/24", "fe80::/64")
		if plan := backendtest.Plan(t, b, &other); strings.Contains(
			backendtest.Changes(plan),
			"ipset",
		) {
			t.Errorf("another connected network: %s", backendtest.Changes(plan))
		}
		backendtest.Apply(t, b, &other)
		if left := run(t, v, "ipset list PORTGRAVE-O4"); !strings.Contains(
			left,
			"192.0.2.1,udp:40001",
		) {
			t.Errorf("another connected network made the questions forgotten: %s", left)
		}

		for _, shape := range []string{"maxelem 4096 timeout 600", "maxelem 8192 timeout 3"} {
			// one of them is in use
			for _, name := range []string{"PORTGRAVE-O4", "PORTGRAVE-O4+"} {
				run(t, v, "ipset list -name "+name+` >/dev/null 2>&1 || exit 0
					ipset create theirs hash:ip,port `+shape+`; ipset swap theirs `+name+`; ipset destroy theirs`)
			}
			if plan := backendtest.Plan(t, b, &other); plan.InSync() {
				t.Errorf("a set with %s is no drift", shape)
			}
			backendtest.Apply(t, b, &other)
			if plan := backendtest.Plan(t, b, &other); !plan.InSync() {
				t.Errorf("after the repair of %s: %s", shape, backendtest.Changes(plan))
			}
		}
		backendtest.Apply(t, b, nil)
		if after := snapshot(t); strings.Contains(after, baseChain) {
			t.Errorf("teardown has left\n%s", after)
		}
	})
}

// Without the program ipset the essential is refused by name, unless no network is connected, so
// that nobody could answer.
func TestQuestionsNeedIpset(t *testing.T) {
	h := mustHost(newFakeKernel(nfVariant))
	h.ipset = false
	diff := func(s firewall.State) error {
		_, err := new(Backend).Diff(&s, observation{newRuleset(), h}, time.Now())
		return err
	}
	err := diff(asking(t, "192.0.2.0/24"))
	if !errors.Is(err, firewall.ErrUnsupported) ||
		!strings.Contains(err.Error(), "multicast-answers needs the program ipset") {
		t.Errorf("%v", err)
	}
	if err := diff(asking(t)); err != nil {
		t.Errorf("no network is connected: %v", err)
	}
}

// Whatever step fails while the essential comes or goes, the rules and sets are those before or
// after.
func TestQuestionsHalfWay(t *testing.T) {
	for _, v := range variants {
		for n := 1; n < 20; n++ {
			k, b := newFakeKernel(v), &Backend{}
			b.kernel, b.noSecurity = k, map[address.Family]bool{}
			plain := asking(t)
			state := asking(t, "192.0.2.0/24", "fe80::/64")
			backendtest.Apply(t, b, &plain)
			first := k.steps
			k.fail = func(step int, _ step) fault {
				if step == first+n {
					return refused
				}
				return noFault
			}
			_, err := backendtest.Reconciler(b).Apply(context.Background(), &state, false)
			k.fail = nil
			want := &plain
			if err == nil {
				want = &state
			}
			if plan := backendtest.Plan(t, b, want); !plan.InSync() {
				t.Errorf("%s, step %d (%v): %s", v, n, err, backendtest.Changes(plan))
			}
		}
	}
}
