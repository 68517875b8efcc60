package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// withKernel is a backend over a kernel in memory, for which few sources are many.
func withKernel(k kernel) *Backend {
	return &Backend{
		kernel: k,
		close:  func() error { return nil },
		now:    time.Now,
		limits: limits{rules: 2, lengths: 6, split: 24},
	}
}

// The ruleset decides as State.Decide says; and between two States, at every commit and while it
// takes effect, each packet meets the verdict of the one or of the other.
func TestEveryCommitShowsOldOrNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newFakeKernel()
		r := reconciler(withKernel(k))
		first := backendtest.Draw(t)
		second := backendtest.DrawNext(t, first)
		if _, err := r.Apply(context.Background(), &first, false); err != nil {
			t.Fatalf("first apply: %v", err)
		}
		k.seen = []*ruleset{copyRuleset(k.rules)}
		if _, err := r.Apply(context.Background(), &second, false); err != nil {
			t.Fatalf("second apply: %v", err)
		}
		now := time.Now()
		before, after := first.Index(), second.Index()
		for _, f := range backendtest.Probes() {
			was, is := before.Decide(f, now).Verdict, after.Decide(f, now).Verdict
			for i, ruleset := range k.seen {
				if got := ruleset.decide(f); got != was && got != is {
					t.Fatalf(
						"commit %d of %d: %+v is %v; before it was %v, afterwards %v",
						i,
						len(k.seen)-1,
						f,
						got,
						was,
						is,
					)
				}
				if i == 0 || !sameButSources(first, second) {
					// the rules of before and the ports map of after may lead a packet that is
					// under way to a place that was not meant for it
					continue
				}
				for n := 0; ; n++ { // the transaction takes effect after the packet's n-th look-up
					p := &passage{before: k.seen[i-1], after: ruleset, lookups: n}
					if got := p.decide(f); got != was && got != is {
						t.Fatalf(
							"commit %d of %d, after %d look-ups: %+v is %v; before it was %v, afterwards %v",
							i,
							len(k.seen)-1,
							n,
							f,
							got,
							was,
							is,
						)
					}
					if p.lookups > 0 {
						break // it was through before that
					}
				}
			}
			if got := k.rules.decide(f); got != is {
				t.Fatalf("%+v is %v, the State says %v", f, got, is)
			}
		}
	})
}

// sameButSources reports whether two States differ in nothing but who may use their services.
func sameButSources(a, b firewall.State) bool {
	clear := func(s firewall.State) firewall.State {
		s.Services = slices.Clone(s.Services)
		for i := range s.Services {
			s.Services[i].Sources, s.Services[i].Expiring = address.Set{}, nil
		}
		return s
	}
	return clear(a).Equal(clear(b))
}

// A failure of any commit leaves the previous rules in force; a lost answer is found out by reading
// back.
func TestFaultAtEveryCommit(t *testing.T) {
	boom := errors.New("injected")
	for n := 1; n <= 3; n++ {
		for _, afterwards := range []bool{false, true} {
			t.Run(fmt.Sprintf("commit %d, done %v", n, afterwards), func(t *testing.T) {
				k := newFakeKernel()
				r := reconciler(withKernel(k))
				old, next := simple(t), simple(t)
				if _, err := r.Apply(context.Background(), &old, false); err != nil {
					t.Fatal(err)
				}
				next.Services = slices.Clone(old.Services)
				next.Services[0].Interfaces = []string{"eth0"}
				next.Services[0].Sources = address.Must("192.0.2.0/24")
				k.commits = 0
				k.fail = func(i int) (error, error) {
					if i != n {
						return nil, nil
					}
					if afterwards {
						return nil, netlink.ErrNoAnswer
					}
					return boom, nil
				}
				_, err := r.Apply(context.Background(), &next, false)
				k.fail = nil
				left, _, perr := r.Plan(context.Background(), &old)
				if perr != nil {
					t.Fatal(perr)
				}
				switch {
				case err == nil:
					if p, _, _ := r.Plan(context.Background(), &next); !p.InSync() {
						t.Errorf("success was reported, but:\n%s", changesText(p))
					}
				case !left.InSync():
					t.Errorf("after %v the old rules differ:\n%s", err, changesText(left))
				case !afterwards && !strings.Contains(err.Error(), "previous rules are in force"):
					t.Errorf("the error does not say what holds: %v", err)
				}
				// Whatever happened, the next apply arrives.
				if _, err := r.Apply(context.Background(), &next, false); err != nil {
					t.Errorf("the next apply: %v", err)
				}
			})
		}
	}
}

// The same for any two States, in every shape: what fails leaves each packet the verdict of before,
// or that of afterwards; an error that says that nothing was changed is right; and the next apply
// arrives.
func TestFaultAtAnyCommitOfAnyChange(t *testing.T) {
	boom := errors.New("injected")
	rapid.Check(t, func(t *rapid.T) {
		k := newFakeKernel()
		r := reconciler(withKernel(k))
		first := backendtest.Draw(t)
		second := backendtest.DrawNext(t, first)
		if _, err := r.Apply(context.Background(), &first, false); err != nil {
			t.Fatalf("first apply: %v", err)
		}
		k.commits = 0
		n, lost, all := rapid.IntRange(1, 5).
			Draw(t, "commit"),
			rapid.Bool().
				Draw(t, "answer lost"),
			rapid.Bool().
				Draw(t, "all further ones")
		k.fail = func(i int) (error, error) {
			switch {
			case i < n || i > n && !all:
				return nil, nil
			case lost:
				return nil, netlink.ErrNoAnswer
			}
			return boom, nil
		}
		_, err := r.Apply(context.Background(), &second, false)
		k.fail = nil
		now := time.Now()
		before, after := first.Index(), second.Index()
		for _, f := range backendtest.Probes() {
			was, is := before.Decide(f, now).Verdict, after.Decide(f, now).Verdict
			got := k.rules.decide(f)
			switch {
			case err == nil && got != is:
				t.Fatalf("no error, but %+v is %v, the State says %v", f, got, is)
			case err != nil && got != was &&
				strings.Contains(err.Error(), "previous rules are in force"):
				t.Fatalf("%v; but %+v is %v; it was %v", err, f, got, was)
			case got != was && got != is:
				t.Fatalf(
					"after %v, %+v is %v; before it was %v, afterwards it had been %v",
					err,
					f,
					got,
					was,
					is,
				)
			}
		}
		if _, err := r.Apply(context.Background(), &second, false); err != nil {
			t.Fatalf("the next apply: %v", err)
		}
	})
}

func TestReadFailureChangesNothing(t *testing.T) {
	k := newFakeKernel()
	k.readFail = func(int) error { return unix.ENOBUFS }
	state := simple(t)
	if _, err := reconciler(withKernel(k)).Apply(context.Background(), &state, false); err == nil ||
		k.commits != 0 {
		t.Errorf("err = %v after %d commits", err, k.commits)
	}
}

// Another writer between observation and commit: compared again, and given up after a few times.
func TestConflict(t *testing.T) {
	state := simple(t)
	for _, times := range []int{1, 1000} {
		k := newFakeKernel()
		k.between = func(n int, k *fakeKernel) {
			if n <= times {
				k.rules.generation++
			}
		}
		_, err := reconciler(withKernel(k)).Apply(context.Background(), &state, false)
		if times == 1 && err != nil {
			t.Errorf("one conflict: %v", err)
		}
		if times > 1 && (!errors.Is(err, firewall.ErrConflict) || k.rules.present) {
			t.Errorf("endless conflict: err = %v, table present %v", err, k.rules.present)
		}
	}
}
