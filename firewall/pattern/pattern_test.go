package pattern

import "testing"

func TestPattern(t *testing.T) {
	p := New("^a+$")
	if p.String() != "^a+$" || !p.MatchString("aa") || p.MatchString("ab") {
		t.Errorf("%v does not do what regexp does", p)
	}
	defer func() {
		if recover() == nil {
			t.Error("an invalid regular expression did not panic")
		}
	}()
	New("(").MatchString("x")
}
