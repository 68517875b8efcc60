package nft

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/netlink"
	"pgregory.net/rapid"
)

// switchProtection changes the flags of a table that stands, which takes a hand-over.
func switchProtection(t *testing.T, b *Backend, on bool, state *firewall.State) {
	t.Helper()
	ctx := context.Background()
	if p, err := b.Protect(ctx, on); !errors.Is(err, firewall.ErrHandOver) || p.Protected {
		t.Fatalf("before the hand-over: %+v, %v", p, err)
	}
	if err := b.HandOver(ctx, *state); err != nil {
		t.Fatal(err)
	}
	if p, err := b.Protect(ctx, on); err != nil || p.Protected != on {
		t.Fatalf("after the hand-over: %+v, %v", p, err)
	}
}

// A table gets its flags, and loses them, by being made anew; nothing of it differs afterwards,
// what it counted stays, and the second table is gone.
func TestHandOver(t *testing.T) {
	for name, state := range map[string]firewall.State{
		"simple":     simple(t),
		"everything": everything(t),
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			b := open(t)
			apply(t, b, &state)
			count(t, b, state, 7)
			for _, on := range []bool{true, false, true} {
				switchProtection(t, b, on, &state)
				if p := planOf(t, b, &state); !p.InSync() {
					t.Errorf("protected %v: the table differs:\n%s", on, changesText(p))
				}
				counted(t, b, 7)
				if r, err := b.kernel.second(); err != nil || r.present {
					t.Errorf("the second table is present: %v, %v", r.present, err)
				}
			}
			// What it holds from now on is changed as ever.
			next := simple(t)
			apply(t, b, &next)
			apply(t, b, &state)
		})
	}
}

// count makes every counter of the table begin with n packets.
func count(t *testing.T, b *Backend, state firewall.State, n uint64) {
	t.Helper()
	seen, err := b.kernel.counters()
	if err != nil {
		t.Fatal(err)
	}
	// A counter in use can't be replaced, so the table is written anew around them.
	whole, err := b.look()
	if err != nil {
		t.Fatal(err)
	}
	for name := range seen.counters {
		seen.counters[name] = counter{Packets: n, Bytes: 100 * n}
	}
	h := planHandover(whole, b.compile(state, time.Now(), layoutInUse(whole, state.Services)))
	b.forget()
	for _, batch := range append(append([][]op{h.remove}, h.reload...), counting(h.judge, seen)) {
		if err := b.kernel.commit(batch, 0); err != nil {
			t.Fatal(err)
		}
	}
}

func counted(t *testing.T, b *Backend, n uint64) {
	t.Helper()
	seen, err := b.kernel.counters()
	if err != nil {
		t.Fatal(err)
	}
	if len(seen.counters) == 0 {
		t.Error("there are no counters")
	}
	for name, c := range seen.counters {
		if c.Packets != n || c.Bytes != 100*n {
			t.Errorf("counter %s has %+v", name, c)
		}
	}
}

// A second table that somebody else made is left alone, and is a reason not to hand over.
func TestForeignSecondTable(t *testing.T) {
	inNamespace(t)
	b, state := open(t), simple(t)
	apply(t, b, &state)
	nftProgram(
		t,
		"add table inet portgrave-handover\nadd chain inet portgrave-handover mine\n",
		"-f",
		"-",
	)
	if _, err := b.Protect(context.Background(), true); !errors.Is(err, firewall.ErrHandOver) {
		t.Fatal(err)
	}
	if err := b.HandOver(context.Background(), state); !errors.Is(err, firewall.ErrForeign) {
		t.Errorf("handing over: %v", err)
	}
	if p := planOf(t, b, &state); !p.InSync() {
		t.Errorf("the plan has\n%s", changesText(p))
	}
	if s := nftProgram(t, "", "list", "table", "inet", "portgrave-handover"); !strings.Contains(
		s,
		"mine",
	) {
		t.Error(s)
	}
}

// judged is what both tables make of a flow: a packet passes if neither stops it.
func judged(first, second firewall.Verdict) firewall.Verdict {
	switch {
	case first == firewall.Refused || second == firewall.Refused:
		return firewall.Refused
	case first == firewall.Allowed || second == firewall.Allowed:
		return firewall.Allowed
	}
	return firewall.Ignored
}

// tables are both as one commit left them.
type tables struct{ first, second *ruleset }

func (k *fakeKernel) tables() tables { return tables{copyRuleset(k.rules), copyRuleset(k.other)} }

func (x tables) decide(f firewall.Flow) firewall.Verdict {
	return judged(x.first.decide(f), x.second.decide(f))
}

// underWay hands over each verdict that a packet may get while a transaction turns x into next: it
// takes effect before the packet, or after the packet's n-th look-up. The first table's hooks come
// first.
func (x tables) underWay(next tables, f firewall.Flow, each func(n int, v firewall.Verdict)) {
	each(0, next.decide(f))
	for n := 0; ; n++ {
		first := &passage{before: x.first, after: next.first, lookups: n, mapsGo: true}
		v := first.decide(f)
		second := &passage{
			before:  x.second,
			after:   next.second,
			lookups: max(0, first.lookups),
			mapsGo:  true,
		}
		each(n, judged(v, second.decide(f))) // the packet is with the second table by then
		if first.lookups <= 0 {              // or on its way to it
			each(n, judged(v, next.second.decide(f)))
		}
		if first.lookups > 0 && second.lookups > 0 {
			return // it was through before that
		}
	}
}

// Whatever the State, every moment of a hand-over shows each packet its verdict: between any two
// commits, whichever of them fails or loses its answer, or if the process ends there; and the next
// apply puts everything in order.
func TestHandOverAtEveryCommit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newFakeKernel()
		b := withKernel(k)
		b.canPersist = true
		state := backendtest.Draw(t)
		if _, err := reconciler(b).Apply(context.Background(), &state, false); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		var probes []firewall.Flow
		index := state.Index()
		for _, f := range backendtest.Probes() {
			if index.Decide(f, now).Verdict == k.rules.decide(f) {
				probes = append(probes, f)
			}
		}
		last := k.tables()
		check := func(when string) {
			next := k.tables()
			for _, f := range probes {
				want := index.Decide(f, now).Verdict
				if got := next.decide(f); got != want {
					t.Fatalf("%s: %+v is %v, the State says %v", when, f, got, want)
				}
				last.underWay(next, f, func(n int, got firewall.Verdict) {
					if got != want {
						t.Fatalf(
							"%s, a packet under way whose look-up %d comes before the last commit: %+v is %v, the State says %v",
							when,
							n,
							f,
							got,
							want,
						)
					}
				})
			}
			last = next
		}
		n := rapid.IntRange(1, 12).Draw(t, "commit")
		how := rapid.SampledFrom([]string{
			"nothing fails", "it fails", "its answer is lost", "the process ends",
		}).
			Draw(t, "how")
		k.commits = 0
		failure := errors.New("injected")
		k.fail = func(i int) (before, after error) {
			check(fmt.Sprintf("before commit %d, %s in %d", i, how, n))
			switch {
			case how == "it fails" && i == n, how == "the process ends" && i >= n:
				return failure, nil
			case how == "its answer is lost" && i == n:
				return nil, netlink.ErrNoAnswer
			}
			return nil, nil
		}
		b.flags = tablePersist | tableOwner
		err := b.HandOver(context.Background(), state)
		k.fail = nil
		check(fmt.Sprintf("at the end, %s in commit %d, %v", how, n, err))
		if err == nil &&
			(how != "nothing fails" && k.commits >= n || k.rules.flags != b.flags || k.other.present) {
			t.Fatalf("no error; %s in commit %d of %d, flags %d", how, n, k.commits, k.rules.flags)
		}
		if how == "the process ends" {
			b = withKernel(k)
		}
		k.fail = func(int) (error, error) { check("while the next apply repairs"); return nil, nil }
		if _, err := reconciler(b).Apply(context.Background(), &state, false); err != nil {
			t.Fatalf("the next apply: %v", err)
		}
		check("after the next apply")
		if k.other.present {
			t.Fatal("the second table is still there")
		}
	})
}

// Teardown leaves nothing of a hand-over that was interrupted.
func TestTeardownAfterAnInterruptedHandOver(t *testing.T) {
	for n := 1; n <= 8; n++ {
		k := newFakeKernel()
		b := withKernel(k)
		state := everything(t)
		if _, err := reconciler(b).Apply(context.Background(), &state, false); err != nil {
			t.Fatal(err)
		}
		k.commits = 0
		k.fail = func(i int) (before, after error) {
			if i >= n {
				return errors.New("injected"), nil
			}
			return nil, nil
		}
		b.flags = tablePersist
		_ = b.HandOver(context.Background(), state)
		k.fail = nil
		if o, err := b.Observe(context.Background()); err != nil || !o.Present() {
			t.Fatalf("interrupted at commit %d, nothing of ours is present: %v", n, err)
		}
		if _, err := reconciler(b).Apply(context.Background(), nil, false); err != nil ||
			k.rules.present ||
			k.other.present {
			t.Errorf(
				"interrupted at commit %d: %v, tables present: %v, %v",
				n,
				err,
				k.rules.present,
				k.other.present,
			)
		}
	}
}
