package nftjson

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// A collected list is what was added, in order, however it is moved.
func TestCollected(t *testing.T) {
	for _, n := range []int{0, 1, maxLast, maxLast + 1, 3*maxLast + 7} {
		var c collected[int]
		var want, got []int
		for i := range n {
			c.add(i)
			want = append(want, i)
		}
		for x := range c.all() {
			got = append(got, *x)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d elements: all yields %d", n, len(got))
		}
		moved := c.moveTo(nil)
		c.add(n)
		if moved = c.moveTo(moved); !slices.Equal(moved, append(want, n)) || c.n != 0 {
			t.Errorf("%d elements: moved %d", n, len(moved))
		}
	}
}

// Reading a long map copies its elements once, not each time that a slice grows.
func TestLongMapsAreCopiedOnce(t *testing.T) {
	const n = 200_000
	var some []any
	for i := range 1000 {
		some = append(some, []any{
			map[string]any{"concat": []any{fmt.Sprintf("192.0.%d.%d", i/256, i%256), "80"}},
			map[string]any{"accept": nil},
		})
	}
	s := &set{
		model: &exposure.Set{Width: 2}, kinds: []string{"ipv4_addr", "inet_service"}, isMap: true,
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n / len(some) {
		s.add(slices.Values(some))
	}
	s.finish()
	runtime.ReadMemStats(&after)
	if s.model.Len() != n || len(s.model.Verdicts) != n {
		t.Fatalf("%d elements: %s", s.model.Len(), s.model.Unknown)
	}
	// each is kept as two ranges of 32 bytes and a verdict of 40, and was a row of 32 and two
	// ranges before
	each := (after.TotalAlloc - before.TotalAlloc) / n
	if most := uint64(2*2*32 + 40 + 32 + 50); each > most {
		t.Errorf("%d bytes are allocated for each element, more than %d", each, most)
	}
	t.Logf("%d bytes for each element", each)
}
