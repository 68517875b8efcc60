package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// confirmedEnding ends the name of the file that confirms a generation.
const confirmedEnding = "confirmed"

func confirmedName(n int) string { return idOf(n) + "." + confirmedEnding }

// Confirmation is who said that a generation works, and when.
type Confirmation struct {
	Time time.Time `json:"time"`
	User string    `json:"user"`
	From string    `json:"from"`
}

// Confirm records that a generation works, so that it is not taken back. Hold the Lock.
func (s *Store) Confirm(n int, c Confirmation) error {
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("confirming generation %d: %w", n, err)
	}
	if err := s.files.Write(confirmedName(n), statefiles.Bytes(append(body, '\n'))); err != nil {
		return fmt.Errorf("generation %d could not be confirmed: %w", n, err)
	}
	if err := s.files.Sync(); err != nil {
		return fmt.Errorf(
			"generation %d is confirmed, but that may not survive a power cut: %w",
			n,
			err,
		)
	}
	return nil
}

// Waits reports whether a generation that was applied on trial is still in force and unconfirmed.
// It reads no State, so that it can be asked every second.
func (s *Store) Waits(n int) (bool, error) {
	newest, err := s.Newest()
	if err != nil || newest != n {
		return false, err
	}
	_, err = s.files.Read(confirmedName(n))
	return err != nil, nil // as in Load, one that can't be read counts as none
}

// LastConfirmed is the newest generation that need not be confirmed any more: what a rollback, and
// a boot, go back to. ErrNone if nothing was in force before; that is ErrTornDown if the rules had
// been removed.
func (s *Store) LastConfirmed() (*Generation, error) {
	numbers, _, err := s.numbers()
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Backward(numbers) {
		r, err := s.HeadOf(n)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case r.Confirmed && r.TornDown:
			return nil, ErrTornDown
		case r.Confirmed:
			return s.Load(n)
		}
	}
	return nil, ErrNone
}

// NeverConfirmed reports whether the last trial that nobody confirmed was of this policy, and the
// policy was not applied for good since. It is the same policy if its text has that name, or if it
// means the same State.
func (s *Store) NeverConfirmed(policy string, state firewall.State) (bool, error) {
	n, err := s.Newest()
	for ; err == nil && n > 0; n-- {
		var head Record
		if head, err = s.HeadOf(n); err != nil {
			break
		}
		switch {
		case head.Policy == policy:
			return !head.Confirmed, nil
		case head.Confirmed:
			continue
		}
		var g *Generation
		if g, err = s.Load(n); err == nil {
			return g.State.Equal(state), nil
		}
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
		err = nil
	}
	return false, err
}
