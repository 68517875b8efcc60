package exposure

import "testing"

// Bits that a rule before DNAT sets in the connection's label are set after it, and no others.
func TestLabelIsFollowed(t *testing.T) {
	for n, want := range map[int]Value{0: {hi: 1 << 56}, 7: {hi: 1 << 63}, 90: {lo: 1 << 34}, 127: {lo: 1 << 7}, 128: {}, -1: {}} {
		if got := LabelBit(n); got != want {
			t.Errorf("bit %d is %+v, want %+v", n, got, want)
		}
	}
	b := LabelBit(90)
	set := SetLabel(b).Value[0]
	label := Known(Value{}, 128)
	label = set.ApplyBits(label)
	label = SetLabel(LabelBit(3)).Value[0].ApplyBits(label)
	if want := b.Or(LabelBit(3)); label.Value != want || label.Known != Ones(128) {
		t.Errorf("two bits that were set make %+v", label)
	}
}
