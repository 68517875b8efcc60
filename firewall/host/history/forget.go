package history

import (
	"errors"
	"fmt"
	"io/fs"
)

// Forget removes a generation that a later one stands for: it is not what somebody would go back
// to.
func (s *Store) Forget(n int) error {
	for _, name := range []string{fileName(n), confirmedName(n), policyName(n)} {
		if err := s.files.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf(
				"generation %d stays in the history although a later one is the same: %w",
				n,
				err,
			)
		}
	}
	return nil
}
