package history

import (
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

// What was never confirmed is found among leases and lists that came after it. Once applied for
// good, it may come again.
func TestNeverConfirmed(t *testing.T) {
	tried := firewall.State{Unlisted: firewall.UnlistedDeny}
	first, second := Record{Policy: "first"}, Record{Policy: "second"}
	confirmed := func(r Record) Record { r.Confirmed = true; return r }
	for name, tt := range map[string]struct {
		then []Record // after the trial of second
		want bool
	}{
		"at once":           {nil, true},
		"back":              {[]Record{confirmed(first)}, true},
		"back, and a lease": {[]Record{confirmed(first), confirmed(first)}, true},
		"applied for good":  {[]Record{confirmed(second)}, false},
		"applied for good, and rolled back": {
			[]Record{confirmed(second), confirmed(first)}, false},
		"another trial": {[]Record{first}, false},
	} {
		s := open(t)
		for _, r := range append([]Record{second}, tt.then...) {
			if _, err := s.Append(Generation{Record: r}); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.NeverConfirmed("second", tried); err != nil || got != tt.want {
			t.Errorf("%s: never confirmed is %v, %v", name, got, err)
		}
		if _, err := s.Append(Generation{
			Record: Record{Policy: "third"}, State: tried,
		}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.NeverConfirmed("second", tried); err != nil || !got {
			t.Errorf(
				"%s, and a trial of the same meaning: never confirmed is %v, %v", name, got, err,
			)
		}
	}
}
