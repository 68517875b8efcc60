package host

import (
	"context"
	"errors"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
)

// put makes the kernel hold want, and the history say so: disk and kernel never tell different
// stories. The generation is recorded right before the kernel is changed, so that what can't be
// recorded is not put in force; it is withdrawn if the kernel does not take it.
//
// generation says what is to be recorded, given what will change; false if it stands there already.
func (l *Local) put(
	ctx context.Context,
	r *firewall.Reconciler,
	store *history.Store,
	want *firewall.State,
	force bool,
	generation func(firewall.Plan) (history.Generation, bool),
) (firewall.Outcome, history.Generation, error) {
	fine := func(firewall.Plan) error { return nil }
	return l.putChecked(ctx, r, store, want, force, fine, generation)
}

// putChecked is put unless check refuses what will change; then nothing is changed or recorded.
func (l *Local) putChecked(
	ctx context.Context,
	r *firewall.Reconciler,
	store *history.Store,
	want *firewall.State,
	force bool,
	check func(firewall.Plan) error,
	generation func(firewall.Plan) (history.Generation, bool),
) (firewall.Outcome, history.Generation, error) {
	var g history.Generation
	recorded := false
	out, err := r.Switch(ctx, want, force, func(p firewall.Plan) error {
		if err := check(p); err != nil {
			return err
		}
		var isNew bool
		if g, isNew = generation(p); !isNew {
			return nil
		}
		var err error
		if g, err = appendTo(store, g); err != nil {
			return errors.Join(notRecordedError{err}, l.withdraw(store, g.Number))
		}
		recorded = true
		return nil
	})
	if err != nil && recorded && out.Enforced.IsZero() {
		return out, g, errors.Join(err, l.withdraw(store, g.Number))
	}
	if recorded {
		l.tell(g)
	}
	return out, g, err
}

// tell says what is in force from now on; after a teardown that is nothing.
func (l *Local) tell(g history.Generation) {
	if l.Recorded != nil && !g.TornDown {
		l.Recorded(g)
	}
}

// appendTo records a generation, or that everything was removed, under the next number.
func appendTo(store *history.Store, g history.Generation) (history.Generation, error) {
	if g.TornDown {
		return store.Clear(g)
	}
	return store.Append(g)
}

// withdraw takes back the record of a generation that did not come into force; 0 is none.
func (l *Local) withdraw(store *history.Store, generation int) error {
	if generation == 0 {
		return nil
	}
	return store.Withdraw(generation)
}

// notRecordedError: the history could not be written, so the kernel was left alone.
type notRecordedError struct{ err error }

func (e notRecordedError) Error() string {
	return "nothing was changed, since it could not be recorded: " + e.err.Error()
}
func (e notRecordedError) Unwrap() error { return e.err }

// NotRecorded reports whether an operation changed nothing because the history could not be
// written, as on a full disk: it may succeed later.
func NotRecorded(err error) bool {
	var e notRecordedError
	return errors.As(err, &e)
}
