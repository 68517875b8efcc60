package pattern

import "testing"

func TestPattern(t *testing.T) {
	p := New("^a+$")
	if p.String() != "^a+$" || !p.MatchString("aa") || p.MatchString("ab") || p.Regexp() != p.Regexp() {
		t.Errorf("%v does not do what regexp does, once", p)
	}
	defer func() {
		if recover() == nil {
			t.Error("a text that is no regular expression was taken for one")
		}
	}()
	New("(").MatchString("x")
}
