package nft

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// Who listens to nf_tables hears of a plan of very many elements before and after it, and of no
// other.
func TestBulkIsAnnounced(t *testing.T) {
	k := newFakeKernel()
	b := withKernel(k)
	var began int
	var ended []uint32
	b.Bulk = func() func(uint32) {
		began++
		before := k.rules.generation
		return func(generation uint32) {
			if k.rules.generation == before && generation != 0 {
				t.Errorf("nothing was done in between, and the end is generation %d", generation)
			}
			ended = append(ended, generation)
		}
	}
	r := reconciler(b)
	apply := func(sources address.Set) error {
		state := simple(t)
		state.Services = slices.Clone(state.Services)
		state.Services[0].Sources = sources
		_, err := r.Apply(context.Background(), &state, false)
		return err
	}
	many := backendtest.Many(t, bulkThreshold)
	for _, step := range []struct {
		what    string
		sources address.Set
		fail    error
		times   int
	}{
		{"few sources", address.Must("192.0.2.0/24"), nil, 0},
		{"many that fail", many, errors.New("injected"), 1},
		{"many", many, nil, 1},
		{"one more", many.Union(address.Must("203.0.113.7/32")), nil, 0},
		{"none of them", address.Must("192.0.2.0/24"), nil, 0}, // a set goes whole
	} {
		began, ended = 0, nil
		k.fail = func(int) (error, error) { return step.fail, nil }
		if err := apply(step.sources); (err != nil) != (step.fail != nil) {
			t.Fatalf("%s: %v", step.what, err)
		}
		if began != step.times || len(ended) != step.times {
			t.Errorf("%s: announced %d times, ended %d times", step.what, began, len(ended))
			continue
		}
		for _, generation := range ended {
			want := k.rules.generation
			if step.fail != nil {
				want = 0
			}
			if generation != want {
				t.Errorf("%s: ended at generation %d, want %d", step.what, generation, want)
			}
		}
	}
}
