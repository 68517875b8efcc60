package host

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// named is a kernel in memory under the name of a backend.
type named struct {
	*backendtest.Memory
	name string
}

func (n named) Name() string { return n.name }

// withBackends gives the host both backends; auto is nftables. What is left in one goes when the
// other is written to.
func (h *host) withBackends() map[string]*backendtest.Memory {
	kernels := map[string]*backendtest.Memory{"nftables": {}, "iptables": {}}
	h.local.Backends = func(_ context.Context, name string, _ bool) (*firewall.Reconciler, error) {
		if name == "" || name == "auto" {
			name = "nftables"
		}
		r := &firewall.Reconciler{
			Backend: named{kernels[name], name},
			Now:     func() time.Time { return h.now },
		}
		for other, k := range kernels {
			if other != name {
				r.Others = append(r.Others, named{k, other})
			}
		}
		return r, nil
	}
	return kernels
}

// holds fails unless a policy is in force through one backend alone; "" is none.
func (h *host) holds(kernels map[string]*backendtest.Memory, backend, document, when string) {
	h.t.Helper()
	for name, k := range kernels {
		held := k.Held()
		if name != backend {
			if held != nil {
				h.t.Errorf("%s, %s holds %+v", when, name, held)
			}
		} else if held == nil || !held.Equal(compile(h.t, document).State) {
			h.t.Errorf("%s, %s holds %+v", when, name, held)
		}
	}
}

func (h *host) apply(q ApplyRequest, document string) Applied {
	h.t.Helper()
	q.Policy = compile(h.t, document)
	a, err := h.ops.Apply(h.t.Context(), q)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *host) takeBack(want bool, when string) {
	h.t.Helper()
	back, err := h.ops.TakeBack(h.t.Context())
	if err != nil || back.Done != want {
		h.t.Errorf("%s: taken back is %+v, %v", when, back, err)
	}
}

// Whatever somebody does to the wall clock, a trial lasts as long as it was meant to, and status
// says when it ends by that clock.
func TestClockSetDuringATrial(t *testing.T) {
	for name, set := range map[string]time.Duration{
		"not set":     0,
		"set back":    -time.Hour,
		"set forward": time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.apply(ApplyRequest{}, own)
			h.apply(ApplyRequest{Confirm: "60s"}, wider)
			h.now, h.set = h.now.Add(50*time.Second), set
			h.takeBack(false, "in time")
			f, err := h.ops.Firewall(t.Context(), FirewallRequest{})
			if left := f.Generation.ConfirmBy.Sub(h.clock().Wall); err != nil ||
				left < 8*time.Second ||
				left > 12*time.Second {
				t.Errorf("status says that it is taken back in %v, %v", left, err)
			}
			h.now = h.now.Add(15 * time.Second)
			h.takeBack(true, "too late")
			if !h.kernel.Held().Equal(compile(t, own).State) {
				t.Errorf("the kernel holds %+v", h.kernel.Held())
			}
		})
	}
}

// A trial across backends ends in the backend where it began, and a rollback goes back to that of
// its generation.
func TestBackToTheBackendOfThen(t *testing.T) {
	h := newHost(t)
	kernels := h.withBackends()
	h.apply(ApplyRequest{Backend: "iptables"}, own)
	h.apply(ApplyRequest{Backend: "nftables", Confirm: "60s"}, wider)
	h.holds(kernels, "nftables", wider, "on trial")
	h.now = h.now.Add(2 * time.Minute)
	h.takeBack(true, "too late")
	h.holds(kernels, "iptables", own, "taken back")

	h.apply(ApplyRequest{Backend: "iptables"}, wider)
	if _, err := h.ops.Rollback(t.Context(), RollbackRequest{}); err != nil {
		t.Fatal(err)
	}
	h.holds(kernels, "iptables", own, "rolled back")
	if _, err := h.ops.Rollback(t.Context(), RollbackRequest{
		Backend: "nftables", Generation: 4,
	}); err != nil {
		t.Fatal(err)
	}
	h.holds(kernels, "nftables", wider, "rolled back to the backend asked for")
	if _, err := h.ops.Rollback(t.Context(), RollbackRequest{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	h.holds(kernels, "iptables", own, "rolled back to the first")

	// Where the backend of then can't be had any more, the old policy is better in force elsewhere
	// than not at all.
	h.apply(ApplyRequest{Backend: "nftables", Confirm: "60s"}, wider)
	h.now = h.now.Add(2 * time.Minute)
	all := h.local.Backends
	h.local.Backends = func(ctx context.Context, name string, thorough bool) (*firewall.Reconciler, error) {
		if name == "iptables" {
			return nil, firewall.ErrUnsupported
		}
		return all(ctx, name, thorough)
	}
	h.takeBack(true, "without iptables")
	h.holds(kernels, "nftables", own, "taken back without iptables")
}

// Confirming too late fails, whether or not somebody has taken it back meanwhile; and a later apply
// ends that.
func TestConfirmTooLate(t *testing.T) {
	for name, first := range map[string]func(*host){
		"the command takes it back": func(*host) {},
		"it was taken back":         func(h *host) { h.takeBack(true, "too late") },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.apply(ApplyRequest{}, own)
			h.apply(ApplyRequest{Confirm: "60s"}, wider)
			h.now = h.now.Add(2 * time.Minute)
			first(h)
			for range 2 {
				if c, err := h.ops.Confirm(t.Context(), ConfirmRequest{}); err == nil ||
					!strings.Contains(
						err.Error(),
						"generation 2 was not confirmed in time and has been taken back",
					) {
					t.Errorf("confirm: %+v, %v", c, err)
				}
				if c, err := h.ops.Confirm(t.Context(), ConfirmRequest{DryRun: true}); err == nil ||
					!strings.Contains(err.Error(), "generation 2 was not confirmed in time") {
					t.Errorf("confirm --dry-run: %+v, %v", c, err)
				}
			}
			if !h.kernel.Held().Equal(compile(t, own).State) {
				t.Errorf("the kernel holds %+v", h.kernel.Held())
			}
			h.apply(ApplyRequest{}, wider)
			if c, err := h.ops.Confirm(t.Context(), ConfirmRequest{}); err != nil || c.Changed {
				t.Errorf("confirm after an apply: %+v, %v", c, err)
			}
		})
	}
}

// After a teardown boot enforces nothing until the next apply, also where nothing was ever applied;
// Firewall says so.
func TestTeardownOutlivesABoot(t *testing.T) {
	for name, before := range map[string]func(*host){
		"nothing applied":              func(*host) {},
		"applied":                      func(h *host) { h.apply(ApplyRequest{}, own) },
		"on trial":                     func(h *host) { h.apply(ApplyRequest{}, own); h.apply(ApplyRequest{Confirm: "60s"}, wider) },
		"torn down, and then on trial": func(h *host) { h.tearDown(); unconfirmed(h.t, h, wider) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			before(h)
			if name != "torn down, and then on trial" {
				h.tearDown()
				h.tearDown()
				if f, err := h.ops.Firewall(t.Context(), FirewallRequest{}); err != nil ||
					f.TornDown == nil ||
					f.Generation != nil {
					t.Errorf("status says %+v, %v", f, err)
				}
			}
			startAnew(h)
			boot := func() Booted {
				return h.boot(
					t,
					BootRequest{
						Policy: func(context.Context) (*Policy, error) {
							return compile(t, own), nil
						},
					},
				)
			}
			if b := boot(); b.Loaded != LoadedTornDown || !b.Well() || h.kernel.Held() != nil {
				t.Errorf("boot says %+v, and the kernel holds %+v", b, h.kernel.Held())
			}
			h.apply(ApplyRequest{}, wider)
			if f, err := h.ops.Firewall(t.Context(), FirewallRequest{}); err != nil ||
				f.TornDown != nil {
				t.Errorf("applied, status says %+v, %v", f, err)
			}
			startAnew(h)
			if b := boot(); b.Loaded != LoadedGeneration ||
				!h.kernel.Held().Equal(compile(t, wider).State) {
				t.Errorf("applied, boot says %+v", b)
			}
		})
	}
}

func (h *host) tearDown() {
	h.t.Helper()
	if _, err := h.ops.Teardown(h.t.Context(), TeardownRequest{}); err != nil {
		h.t.Fatal(err)
	}
}

// Generations are compared in the words of the backend that enforces them.
func TestPlanBetweenSaysTheBackend(t *testing.T) {
	h := newHost(t)
	h.withBackends()
	h.apply(ApplyRequest{Backend: "iptables"}, own)
	h.apply(ApplyRequest{Backend: "iptables"}, wider)
	h.apply(ApplyRequest{Backend: "nftables"}, wider)
	number := func(n int) *int { return &n }
	for name, tt := range map[string]struct {
		q             PlanRequest
		backend       string
		says, unheard string
	}{
		"two of iptables":     {PlanRequest{From: number(1), To: number(2)}, "iptables", "PORTGRAVE", "svc/"},
		"from nothing":        {PlanRequest{From: number(0), To: number(1)}, "iptables", "table mangle", "inet portgrave"},
		"to nothing":          {PlanRequest{From: number(1), To: number(0)}, "iptables", "table mangle", "inet portgrave"},
		"another backend":     {PlanRequest{From: number(2), To: number(3)}, "nftables", "table mangle", "iptables-nope"},
		"the one asked for":   {PlanRequest{From: number(1), To: number(2), Backend: "nftables"}, "nftables", "svc/", "PORTGRAVE"},
		"with the policy":     {PlanRequest{From: number(1), Policy: compile(t, wider)}, "nftables", "table mangle", "iptables-nope"},
		"of one, and as much": {PlanRequest{From: number(3), Policy: compile(t, own)}, "nftables", "svc/web", "PORTGRAVE"},
	} {
		d, err := h.ops.Plan(t.Context(), tt.q)
		if err != nil || d.Backend != tt.backend || d.InSync {
			t.Errorf("%s: backend %q, in sync %v, %v", name, d.Backend, d.InSync, err)
		}
		var words strings.Builder
		for _, c := range d.Changes {
			words.WriteString(c.String() + "\n")
		}
		if got := words.String(); !strings.Contains(got, tt.says) ||
			strings.Contains(got, tt.unheard) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// What a policy was compiled from goes with its generations, whatever makes them; an apply that
// changes no rule is remembered, too.
func TestGenerationsKnowTheirPolicy(t *testing.T) {
	h := newHost(t)
	ctx := t.Context()
	apply := func(document, text, confirm string) {
		t.Helper()
		p := compile(t, document)
		p.Text = []byte(text)
		if _, err := h.ops.Apply(ctx, ApplyRequest{Policy: p, Confirm: confirm}); err != nil {
			t.Fatal(err)
		}
	}
	policy := func(want, when string) {
		t.Helper()
		f, err := h.ops.Firewall(ctx, FirewallRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if text, err := h.local.view().Policy(f.PolicyText); err != nil || string(text) != want {
			t.Errorf("%s, the policy in force is %q, %v", when, text, err)
		}
	}
	apply(own, "one", "")
	policy("one", "applied")
	apply(own, "the same in other words", "")
	policy("the same in other words", "applied again")
	if _, err := h.ops.Open(ctx, OpenRequest{
		Port: "9090", Sources: []string{"203.0.113.7"}, For: "2h",
	}); err != nil {
		t.Fatal(err)
	}
	policy("the same in other words", "with a lease")
	apply(wider, "two", "60s")
	policy("two", "on trial")
	h.now = h.now.Add(2 * time.Minute)
	h.takeBack(true, "too late")
	policy("the same in other words", "taken back")
	apply(wider, "two", "")
	if _, err := h.ops.Rollback(ctx, RollbackRequest{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	policy("the same in other words", "rolled back")
}

// A generation on trial is taken back although what it enforces can't be read any more.
func TestDamagedTrialIsTakenBack(t *testing.T) {
	h := newHost(t)
	h.apply(ApplyRequest{}, own)
	h.apply(ApplyRequest{Confirm: "60s"}, wider)
	damage(t, h, "000002")
	h.now = h.now.Add(2 * time.Minute)
	h.takeBack(true, "too late")
	if !h.kernel.Held().Equal(compile(t, own).State) {
		t.Errorf("the kernel holds %+v", h.kernel.Held())
	}
}
