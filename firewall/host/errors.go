package host

import (
	"encoding/json"
	"fmt"
)

// UsageError is a caller's mistake.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap is the mistake.
func (e UsageError) Unwrap() error { return e.Err }

// Usagef is a UsageError in these words.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// TestsFailedError refuses a policy that fails its own tests. Tests are Policy.FailedTests.
type TestsFailedError struct{ Tests []json.RawMessage }

func (e TestsFailedError) Error() string {
	return fmt.Sprintf(
		"the policy fails %s of its own; nothing was changed (--force applies it all the same)",
		Plural(len(e.Tests), "test"),
	)
}

// Plural is "1 change", "2 changes".
func Plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
