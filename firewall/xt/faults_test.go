package xt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"pgregory.net/rapid"
)

func withKernel(k kernel) *Backend {
	return &Backend{kernel: k, noSecurity: map[address.Family]bool{}}
}

func drawVariant(t *rapid.T) variant { return rapid.SampledFrom(variants).Draw(t, "variant") }

// lets is what a State lets through of some packets: what it allows, and what it says nothing about.
func lets(s firewall.State, flows []firewall.Flow, now time.Time) []bool {
	out := make([]bool, len(flows))
	x := s.Index()
	for i, f := range flows {
		out[i] = x.Decide(f, now).Verdict != firewall.Refused
	}
	return out
}

// watch fails at the first change after which a packet meets neither the verdict of the old State
// nor of the new.
func watch(t interface{ Fatalf(string, ...any) }, k *fakeKernel, first, second firewall.State) {
	now := time.Now()
	flows := backendtest.Probes()
	were, are := lets(first, flows, now), lets(second, flows, now)
	k.after = func() {
		for i, f := range flows {
			if is := are[i]; were[i] == is && k.passes(f) != is {
				t.Fatalf("step %d: %+v passes: %v; both States say %v", k.steps, f, !is, is)
			}
		}
	}
}

// begun is a kernel of either variant that holds a random State.
func begun(t *rapid.T) (*fakeKernel, *firewall.Reconciler, firewall.State) {
	k := newFakeKernel(drawVariant(t))
	r := backendtest.Reconciler(withKernel(k))
	first := backendtest.Draw(t)
	if _, err := r.Apply(context.Background(), &first, false); err != nil {
		t.Fatalf("first apply: %v", err)
	}
	return k, r, first
}

// judge fails unless every packet passes that the State lets through, and no other.
func judge(t *rapid.T, k *fakeKernel, s firewall.State) {
	now := time.Now()
	flows := backendtest.Probes()
	passes := lets(s, flows, now)
	for i, f := range flows {
		if k.passes(f) != passes[i] {
			t.Fatalf("%+v passes: %v; the State: %+v", f, k.passes(f), s.Decide(f, now))
		}
	}
}

// The ruleset decides as State.Decide says; and at every step between two States each packet meets
// the verdict of the one or of the other.
func TestEveryStepShowsOldOrNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, r, first := begun(t)
		second := backendtest.DrawNext(t, first)
		judge(t, k, first)
		watch(t, k, first, second)
		// as if the host's iptables had been changed in between
		if rapid.Bool().Draw(t, "the other variant") {
			k.variant = otherVariant(k.variant)
		}
		if _, err := r.Apply(context.Background(), &second, false); err != nil {
			t.Fatalf("second apply: %v", err)
		}
		judge(t, k, second)
		k.after = nil
		if _, err := r.Apply(context.Background(), nil, false); err != nil {
			t.Fatalf("teardown: %v", err)
		}
		if o, _ := k.read(context.Background()); len(o.tables)+len(o.sets) > 0 {
			t.Fatalf("teardown left %d tables, %d sets", len(o.tables), len(o.sets))
		}
	})
}

// A failure of any step, whether or not it was done all the same or half, leaves the previous rules
// in force; and on the way there and back no packet meets anything but the old verdict or the new
// one.
func TestFaultAtEveryStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, r, first := begun(t)
		second := backendtest.DrawNext(t, first)
		watch(t, k, first, second)
		at, what := rapid.IntRange(1, 8).
			Draw(t, "fails at"),
			rapid.SampledFrom([]fault{refused, halfDone, doneButReported}).
				Draw(t, "fault")
		k.steps = 0
		tidy := false
		k.fail = func(n int, s step) fault {
			if n != at {
				return noFault
			}
			tidy = s.tidy
			return what
		}
		_, err := r.Apply(context.Background(), &second, false)
		k.fail = nil
		want := &second
		if err != nil && !tidy {
			want = &first
			if !errors.Is(err, errInjected) ||
				!strings.Contains(err.Error(), "previous rules are in force") {
				t.Fatalf("the error does not say what holds: %v", err)
			}
		}
		if err == nil || !tidy { // after a failed tidying up there is something left to tidy up
			if p, _, err := r.Plan(context.Background(), want); err != nil || !p.InSync() {
				t.Fatalf("afterwards, differences: %v\n%s", err, backendtest.Changes(p))
			}
		}
		judge(t, k, *want)
		// Whatever happened, the next apply arrives.
		if _, err := r.Apply(context.Background(), &second, false); err != nil {
			t.Fatalf("the next apply: %v", err)
		}
		if p, _, _ := r.Plan(context.Background(), &second); !p.InSync() {
			t.Fatalf("after the next apply:\n%s", backendtest.Changes(p))
		}
	})
}

// An apply that is killed leaves the old verdict or the new one, and the next one tidies up.
func TestKilledAtEveryStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k, r, first := begun(t)
		second := backendtest.DrawNext(t, first)
		third := backendtest.DrawNext(t, second)
		_, seen, err := r.Plan(context.Background(), &second)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := r.Backend.Diff(&second, seen, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		all := plan.Program.(work).steps
		for _, s := range all[:rapid.IntRange(0, len(all)).Draw(t, "killed after")] {
			if err := k.run(context.Background(), s); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Apply(context.Background(), &third, false); err != nil {
			t.Fatalf("the next apply: %v", err)
		}
		judge(t, k, third)
		if o, _ := k.read(context.Background()); len(
			o.sets,
		) > len(
			compile(third, time.Now(), nil, mustHost(k)).sets,
		) {
			t.Fatalf("%d sets are left", len(o.sets))
		}
	})
}

func mustHost(k *fakeKernel) host {
	h, _ := k.host(context.Background())
	h.security = map[address.Family]bool{address.IPv4: true, address.IPv6: true}
	return h
}

// Where the kernel has no table security, reject works without the net behind it, and says so.
func TestKernelWithoutTableSecurity(t *testing.T) {
	k := newFakeKernel(legacy)
	k.fail = nil
	b := withKernel(refusesSecurity{k})
	r := backendtest.Reconciler(b)
	state := backendtest.Everything(t)
	if _, err := r.Apply(context.Background(), &state, false); err != nil {
		t.Fatal(err)
	}
	// Another run, which does not know what this one has learnt.
	fresh := backendtest.Reconciler(withKernel(refusesSecurity{k}))
	p, seen, err := fresh.Plan(context.Background(), &state)
	if err != nil || !p.InSync() {
		t.Fatalf("%v\n%s", err, backendtest.Changes(p))
	}
	if notes := fmt.Sprint(seen.Notes()); !strings.Contains(notes, "no table security") {
		t.Errorf("notes: %s", notes)
	}
}

type refusesSecurity struct{ *fakeKernel }

func (k refusesSecurity) run(ctx context.Context, s step) error {
	if s.table == security {
		return &programError{
			name: "iptables-restore",
			said: "iptables-restore v1.8.9 (legacy): can't initialize iptables table `security': Table does not exist (do you need to insmod?)",
			err:  errors.New("exit status 3"),
		}
	}
	return k.fakeKernel.run(ctx, s)
}
