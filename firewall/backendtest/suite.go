package backendtest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Reconciler is one over the backend, that ends no connections and logs nothing.
func Reconciler(b firewall.Backend) *firewall.Reconciler {
	return &firewall.Reconciler{Backend: b, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
}

// Apply makes the kernel hold the State, or nothing of ours for nil.
func Apply(t testing.TB, b firewall.Backend, s *firewall.State) firewall.Outcome {
	t.Helper()
	out, err := Reconciler(b).Apply(context.Background(), s, false)
	if err != nil {
		t.Fatalf("apply: %v", err)
	}
	return out
}

// Plan is what Apply would change.
func Plan(t testing.TB, b firewall.Backend, s *firewall.State) firewall.Plan {
	t.Helper()
	p, _, err := Reconciler(b).Plan(context.Background(), s)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	return p
}

// Changes lists a plan's changes, one a line.
func Changes(p firewall.Plan) string {
	var b strings.Builder
	for _, c := range p.Changes {
		fmt.Fprintf(&b, "%s\n", c)
	}
	return b.String()
}

// Subject is a backend under test.
type Subject struct {
	// Open makes the backend in the namespace of the calling thread.
	Open func(testing.TB) firewall.Backend
	// Before prepares the namespace with rules of others; nil does nothing.
	Before func(testing.TB)
	// Snapshot prints all rules and sets of the namespace, ours and others'.
	Snapshot func(testing.TB) string
}

// Suite checks the properties that any backend must have, each in a namespace of its own.
func Suite(t *testing.T, s Subject) {
	for name, property := range map[string]func(*testing.T, Subject){
		"apply is idempotent":             idempotent,
		"teardown leaves no trace":        noTrace,
		"one CIDR is one element":         oneElement,
		"a plan names what differs":       growth,
		"the end of a source is no drift": endIsNoDrift,
		"moves of a source":               moves,
		"100000 sources":                  manySources,
		"every service is counted":        counted,
		"leases belong to a service":      leases,
		"leases of the version before":    leasesOfBefore,
	} {
		t.Run(name, func(t *testing.T) {
			Isolate(t)
			property(t, s)
		})
	}
}

func idempotent(t *testing.T, s Subject) {
	b := s.Open(t)
	states := map[string]firewall.State{"simple": Simple(t), "everything": Everything(t)}
	for name, state := range states {
		if out := Apply(t, b, &state); out.Plan.InSync() {
			t.Errorf("%s: the first apply changed nothing", name)
		}
		before := s.Snapshot(t)
		if out := Apply(t, b, &state); !out.Plan.InSync() {
			t.Errorf("%s: the second apply changed %v", name, out.Plan.Changes)
		}
		if diff := cmp.Diff(before, s.Snapshot(t)); diff != "" {
			t.Errorf("%s: the second apply wrote to the kernel (-before +after):\n%s", name, diff)
		}
	}
}

func noTrace(t *testing.T, s Subject) {
	if s.Before != nil {
		s.Before(t)
	}
	before := s.Snapshot(t)
	b, state := s.Open(t), Everything(t)
	Apply(t, b, &state)
	Apply(t, b, nil)
	if diff := cmp.Diff(before, s.Snapshot(t)); diff != "" {
		t.Errorf("after teardown (-before +after):\n%s", diff)
	}
}

// with changes one service of a State.
func with(s firewall.State, name string, change func(*firewall.Service)) firewall.State {
	s.Services = slices.Clone(s.Services)
	i := slices.IndexFunc(s.Services, func(svc firewall.Service) bool { return svc.Name == name })
	change(&s.Services[i])
	return s
}

// One CIDR more is one element more, to people and to the JSON contract, however it is held.
func oneElement(t *testing.T, s Subject) {
	b, state := s.Open(t), Everything(t)
	Apply(t, b, &state)
	const cidr = "172.16.0.0/12"
	for _, service := range []string{"prometheus", "list", "many"} {
		state = with(
			state,
			service,
			func(svc *firewall.Service) { svc.Sources = svc.Sources.Union(address.Must(cidr)) },
		)
		out := Apply(t, b, &state)
		want := []firewall.Change{
			{
				Action:  firewall.Add,
				Object:  firewall.ObjectElement,
				Service: service,
				Family:  "ipv4",
				Detail:  cidr,
				Count:   1,
			},
		}
		if diff := cmp.Diff(want, out.Plan.Changes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", service, diff)
		}
	}
}

// However its sources are held, and whatever it takes to hold more or fewer, the elements that a
// plan names are the sources that come and go.
func growth(t *testing.T, s Subject) {
	b := s.Open(t)
	rate := &firewall.Rate{Count: 20, Per: time.Second, Burst: 40}
	for _, svc := range []firewall.Service{{}, {Rate: rate}} {
		state := func(n int) firewall.State {
			return with(
				Simple(t),
				"prometheus",
				func(was *firewall.Service) { was.Rate, was.Sources = svc.Rate, List(t, n) },
			)
		}
		have := 0
		first := state(have)
		Apply(t, b, &first)
		for _, n := range []int{1, 4, 5, 6, 16, 17, 18, 17, 16, 5, 4, 3, 18, 2, 0} {
			action, differ := firewall.Add, List(t, n).Minus(List(t, have))
			if n < have {
				action, differ = firewall.Remove, List(t, have).Minus(List(t, n))
			}
			next := state(n)
			out := Apply(t, b, &next)
			got, want := map[string]int{}, map[string]int{}
			for _, c := range out.Plan.Changes {
				if c.Object == firewall.ObjectElement {
					got[fmt.Sprintf("%s %s %s", c.Action, c.Service, c.Detail)] += c.Count
				}
			}
			for x := range differ.All() {
				want[fmt.Sprintf("%s prometheus %s", action, x)] = 1
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("from %d sources of each family to %d (-want +got):\n%s", have, n, diff)
			}
			have = n
		}
	}
}

func endIsNoDrift(t *testing.T, s Subject) {
	b := s.Open(t)
	lease := func(cidr string, until time.Time) firewall.State {
		return with(Simple(t), "prometheus", func(svc *firewall.Service) {
			svc.Expiring = []firewall.ExpiringSource{
				{Prefix: netip.MustParsePrefix(cidr), Until: until},
			}
		})
	}
	state := lease("203.0.113.0/24", time.Now().Add(1200*time.Millisecond))
	Apply(t, b, &state)
	if p := Plan(t, b, &state); !p.InSync() {
		t.Fatalf("not in sync while the source is allowed:\n%s", Changes(p))
	}
	deadline := time.Now().Add(10 * time.Second)
	for strings.Contains(s.Snapshot(t), "203.0.113.0/24") {
		if time.Now().After(deadline) {
			t.Fatal("the kernel did not expire the source")
		}
		if p := Plan(t, b, &state); !p.InSync() {
			t.Fatalf("drift around the end of the source:\n%s", Changes(p))
		}
	}
	if p := Plan(t, b, &state); !p.InSync() {
		t.Fatalf("not in sync after the source expired:\n%s", Changes(p))
	}
	// The administrator gives the source more time, and a neighbour of it too.
	state = lease("203.0.112.0/23", time.Now().Add(time.Hour))
	Apply(t, b, &state)
	state = lease("0.0.0.0/0", time.Now().Add(time.Hour))
	Apply(t, b, &state)
	// Further away than some kernels can count.
	state = lease("203.0.112.0/23", time.Now().Add(400*24*time.Hour))
	Apply(t, b, &state)
	if p := Plan(t, b, &state); !p.InSync() {
		t.Fatalf("not in sync with an end far away:\n%s", Changes(p))
	}
}

// A source that becomes lasting, or stops being so, and lists that outgrow how they were held.
func moves(t *testing.T, s Subject) {
	b := s.Open(t)
	few, many := address.Must("10.0.0.0/8", "fc00::/7"), Many(t, 1000)
	exact := address.Set{}
	for i := range 40 {
		exact = exact.Union(address.Must(fmt.Sprintf("10.0.%d.1/32", i)))
	}
	lease := []firewall.ExpiringSource{
		{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Until: time.Now().Add(time.Hour)},
	}
	for i, change := range []func(*firewall.Service){
		func(svc *firewall.Service) { svc.Sources, svc.Expiring = few, lease },
		func(svc *firewall.Service) { svc.Sources, svc.Expiring = many, lease },
		func(svc *firewall.Service) { svc.Sources = many.Union(address.Must("203.0.113.0/24")) },
		func(svc *firewall.Service) { svc.Sources, svc.Expiring = exact, lease },
		func(svc *firewall.Service) { svc.Sources, svc.Interfaces = many, []string{"eth*"} },
		func(svc *firewall.Service) {
			svc.Sources, svc.Ports = many.Minus(Many(t, 500)), []firewall.PortRange{tcp(9091, 9099)}
		},
		func(svc *firewall.Service) { svc.Sources = Many(t, 3) },
		func(svc *firewall.Service) {},
	} {
		state := with(Simple(t), "prometheus", change)
		Apply(t, b, &state) // fails unless the read-back is in sync
		if out := Apply(t, b, &state); !out.Plan.InSync() {
			t.Errorf("step %d: the second apply changed %v", i, out.Plan.Changes)
		}
	}
}

func manySources(t *testing.T, s Subject) {
	b, state := s.Open(t), Simple(t)
	sources := Many(t, 100_000)
	set := func(p address.Set) {
		state = with(state, "prometheus", func(svc *firewall.Service) { svc.Sources = p })
	}
	set(sources)
	start := time.Now()
	Apply(t, b, &state)
	t.Logf("first apply with read-back of %d prefixes: %v", sources.Len(), time.Since(start))
	start = time.Now()
	if out := Apply(t, b, &state); !out.Plan.InSync() {
		t.Error("the second apply changed something")
	}
	t.Logf("no-op apply: %v", time.Since(start))
	set(sources.Minus(address.Must("20.0.7.0/25")))
	start = time.Now()
	if out := Apply(t, b, &state); out.Plan.Count() != 1 {
		t.Errorf("one CIDR less changed %d objects", out.Plan.Count())
	}
	t.Logf("one CIDR less: %v", time.Since(start))
}

// What is counted is judged in test/e2e; here, that something counts for each service.
func counted(t *testing.T, s Subject) {
	b, state := s.Open(t), Everything(t)
	Apply(t, b, &state)
	_, seen, err := Reconciler(b).Plan(context.Background(), &state)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{firewall.UnlistedTraffic: true, "no-such-service": false}
	for _, svc := range state.Services {
		want[svc.Name] = true
	}
	for name, want := range want {
		if _, counted := seen.Traffic(name); counted != want {
			t.Errorf("service %s is counted: %v", name, counted)
		}
	}
}
