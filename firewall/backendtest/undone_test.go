package backendtest

import (
	"context"
	"errors"
	"testing"

	"github.com/portgrave/portgrave/firewall"
)

// undone is a kernel in which another program undoes what was written, so many times.
type undone struct {
	*Memory
	times int
}

func (u *undone) Apply(ctx context.Context, p firewall.Plan) error {
	err := u.Memory.Apply(ctx, p)
	if u.times > 0 {
		u.times--
		u.Set(nil)
	}
	return err
}

// What another program undoes before it is read back is written once more, and then reported.
func TestUndoneBeforeReadBack(t *testing.T) {
	for times, want := range []struct {
		writes int
		err    error
	}{{1, nil}, {2, nil}, {2, firewall.ErrNotHeld}} {
		kernel := &undone{Memory: &Memory{}, times: times}
		state := firewall.State{}
		announced := 0
		out, err := Reconciler(kernel).Switch(
			t.Context(), &state, false, func(firewall.Plan) error { announced++; return nil },
		)
		if !errors.Is(err, want.err) || kernel.Applies() != want.writes || announced != 1 {
			t.Errorf("undone %d times: %v, %d writes, announced %d times", times, err,
				kernel.Applies(), announced)
		}
		if err == nil && (kernel.Held() == nil || out.Plan.Count() != 1) {
			t.Errorf("undone %d times: it holds %v; %d changes", times, kernel.Held(), out.Plan.Count())
		}
	}
}
