package daemon

import (
	"errors"
	"testing"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/denied"
)

// The daemon remembers the last reports, and a follower that doesn't read holds nothing up.
func TestDenials(t *testing.T) {
	d := NewDenials()
	full := errors.New("disk full")
	emit := d.Tee(func(denied.Event) error { return full })
	next, stop, ok := d.follow(0)
	if !ok {
		t.Fatal("nobody follows")
	}
	const reports = 5*keptDenials + 7
	for i := range reports {
		if err := emit(denied.Event{Count: uint64(i)}); !errors.Is(err, full) {
			t.Fatal("the writer's error is lost:", err)
		}
	}
	last := d.last()
	if len(last) != keptDenials || last[0].Count != reports-keptDenials ||
		last[keptDenials-1].Count != reports-1 {
		t.Errorf("%d reports, from %v", len(last), last[0].Count)
	}
	if e := <-next; e.Count != 0 {
		t.Errorf("the first report is %d", e.Count)
	}
	stop()
	for range api.MaxStreams {
		if _, _, ok := d.follow(0); !ok {
			t.Fatal("refused too early")
		}
	}
	if _, _, ok := d.follow(0); ok {
		t.Error("as many as like may follow")
	}
	if _, _, ok := d.follow(1); !ok {
		t.Error("those of another standing are refused, too")
	}
}
