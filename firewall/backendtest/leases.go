package backendtest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// leased is a State with a service on three ports, whose name is longer than iptables has room for,
// with leases.
func leased(t testing.TB, leases ...firewall.Lease) firewall.State {
	s := Simple(t)
	s.Services = append(slices.Clone(s.Services), firewall.Service{
		Name:    leasedService,
		Ports:   []firewall.PortRange{tcp(8000, 8002)},
		Sources: address.Must("10.1.0.0/16").Union(List(t, 20)),
		Log:     firewall.LogDenied,
		Rate:    &firewall.Rate{Count: 20, Per: time.Second, Burst: 40},
		Leases:  leases,
	})
	return Canonical(t, s)
}

const leasedService = "a-service-of-which-a-port-is-leased"

// leases are opened and closed in the name of their service, and touch nothing else of it.
func leases(t *testing.T, s Subject) {
	b := s.Open(t)
	one, other := lease("203.0.113.7/32", tcp(8001, 8001)), lease("203.0.113.9/32", tcp(8001, 8001))
	without, with, more := leased(t), leased(t, one), leased(t, one, other)
	Apply(t, b, &without)
	for _, next := range []*firewall.State{&with, &without} {
		plan := Apply(t, b, next).Plan
		lets := 0
		for _, c := range plan.Changes {
			if c.Service != "" && c.Service != leasedService {
				t.Errorf("not in the name of the service: %s", c)
			}
			if c.Object != firewall.ObjectElement || strings.HasPrefix(c.Detail, "port ") {
				continue
			}
			if lets++; !strings.HasPrefix(c.Detail, "203.0.113.7/32") {
				t.Errorf("another source of the service: %s", c)
			}
		}
		if lets != 1 {
			t.Errorf("the lease's source changes %d times:\n%s", lets, Changes(plan))
		}
	}
	Apply(t, b, &with)
	plan := Apply(t, b, &more).Plan
	if len(plan.Changes) != 1 || plan.Changes[0].Object != firewall.ObjectElement ||
		plan.Changes[0].Service != leasedService {
		t.Errorf("a lease more on the same port:\n%s", Changes(plan))
	}
	if out := Apply(t, b, &more); !out.Plan.InSync() {
		t.Errorf("the second apply changed %v", out.Plan.Changes)
	}
}

// Before, a lease was a service of its own beside the one that it was split from. What stands like
// that in the kernel, and in the history, is in sync until leases are enforced again; then its
// objects are replaced, and nothing of other services is.
func leasesOfBefore(t *testing.T, s Subject) {
	b := s.Open(t)
	l := lease("203.0.113.7/32", tcp(8001, 8001))
	before := with(leased(t), leasedService, func(svc *firewall.Service) {
		svc.Ports = []firewall.PortRange{tcp(8000, 8000), tcp(8002, 8002)}
	})
	part := leased(t).Services[0]
	if part.Name != leasedService {
		t.Fatalf("%s is the first", part.Name)
	}
	part.Name = "a-service-of-wh-123456.lease-tcp-8001"
	part.Ports, part.Expiring = l.Ports, l.Expiring
	before.Services = append(before.Services, part)
	before = Canonical(t, before)
	Apply(t, b, &before)
	if p := Plan(t, b, &before); !p.InSync() {
		t.Errorf("drift:\n%s", Changes(p))
	}
	after := leased(t, l)
	plan := Apply(t, b, &after).Plan
	var others []string
	for _, c := range plan.Changes {
		if !slices.Contains([]string{"", leasedService, part.Name}, c.Service) &&
			!strings.HasPrefix(c.Service, "a-servi~") { // as iptables has it
			others = append(others, c.String())
		}
	}
	if diff := cmp.Diff([]string(nil), others); diff != "" {
		t.Error(diff)
	}
	if p := Plan(t, b, &after); !p.InSync() {
		t.Errorf("not in sync:\n%s", Changes(p))
	}
}
