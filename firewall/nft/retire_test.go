package nft

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"pgregory.net/rapid"
)

// While services go, and the mode changes, or everything goes, every packet meets the verdict of
// before or that of afterwards, also one that is under way as a transaction takes effect.
func TestWhatGoesShowsOldOrNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newFakeKernel()
		r := reconciler(withKernel(k))
		first := backendtest.Draw(t)
		second := first
		second.Unlisted = rapid.SampledFrom([]firewall.Unlisted{
			firewall.UnlistedIgnore, firewall.UnlistedDeny,
		}).
			Draw(t, "unlisted then")
		second.Services = slices.DeleteFunc(
			slices.Clone(first.Services),
			func(s firewall.Service) bool {
				return rapid.Bool().Draw(t, s.Name+" goes")
			},
		)
		next := &second
		if rapid.Bool().Draw(t, "teardown") {
			next, second = nil, firewall.State{
				Unlisted: firewall.UnlistedIgnore,
				Refuse:   firewall.RefuseDrop,
			}
		}
		if _, err := r.Apply(context.Background(), &first, false); err != nil {
			t.Fatalf("first apply: %v", err)
		}
		k.seen = []*ruleset{copyRuleset(k.rules)}
		if _, err := r.Apply(context.Background(), next, false); err != nil {
			t.Fatalf("second apply: %v", err)
		}
		now := time.Now()
		before, after := first.Index(), second.Index()
		for _, f := range backendtest.Probes() {
			was, is := before.Decide(f, now).Verdict, after.Decide(f, now).Verdict
			for i, ruleset := range k.seen[1:] {
				for n := 0; ; n++ { // the transaction takes effect after the packet's n-th look-up
					p := &passage{before: k.seen[i], after: ruleset, lookups: n}
					if got := p.decide(f); got != was && got != is {
						t.Fatalf(
							"commit %d of %d, after %d look-ups: %+v is %v; before it was %v, afterwards %v",
							i+1,
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
		}
	})
}
