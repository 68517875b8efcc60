package address

import "testing"

// Parts of one list are joined without a copy, in any order, and never where numbers touch or the
// memory behind a part holds something else.
func TestPartsOfOneListAreJoinedInPlace(t *testing.T) {
	list := Ranges[V4]{{1, 2}, {5, 6}, {9, 9}, {10, 11}, {20, 30}}
	a, b, c := list[:1], list[1:3], list[3:]
	if got := a.Union(b); !Same(got, list[:3]) {
		t.Errorf("%v is not the same memory", got)
	}
	if got := b.Union(a); !Same(got, list[:3]) {
		t.Errorf("%v is not the same memory", got)
	}
	want := Ranges[V4]{{1, 2}, {5, 6}, {9, 11}, {20, 30}}
	if got := UnionAll([]Ranges[V4]{c, a, b}); !got.Equal(want) {
		t.Errorf("where two parts touch: %v, not %v", got, want)
	}
	if got := b[:1].Union(c[1:]); !got.Equal(Ranges[V4]{{5, 6}, {20, 30}}) {
		t.Errorf("with something between: %v", got)
	}
	clipped := a[:1:1]
	if got := clipped.Union(b); Same(got, list[:3]) || !got.Equal(list[:3]) {
		t.Errorf("a clipped part: %v", got)
	}
	parts := Ranges[V4]{{1, 2}, {5, 6}, {9, 9}, {20, 30}}
	if got := UnionAll([]Ranges[V4]{parts[3:], parts[:1], parts[1:3]}); !Same(got, parts) {
		t.Errorf("%v is not the same memory", got)
	}
	before := append(Ranges[V4](nil), list...)
	_, _ = a.Minus(Ranges[V4]{{2, 2}}), a.Union(Ranges[V4]{{3, 4}})
	if !list.Equal(before) {
		t.Errorf("an operation on a part has changed the list: %v", list)
	}
	var builder RangesBuilder[V4]
	builder.AddAll(a)
	builder.AddAll(b)
	builder.Add(Range[V4]{7, 8})
	if got := builder.Ranges(); !got.Equal(Ranges[V4]{{1, 2}, {5, 9}}) || !list.Equal(before) {
		t.Errorf("a builder made %v, and left %v", got, list)
	}
}
