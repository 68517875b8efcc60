package host

import (
	"errors"
	"log/slog"
	"testing"
)

// A backend that doesn't exist must not stand for one that does: rules would move there. Nothing
// is written here, since this runs in the machine's own network namespace.
func TestUnknownBackend(t *testing.T) {
	_, resolved := ResolveBackend("nft")
	_, _, opened := OpenReconciler(t.Context(), "nft", false, slog.New(slog.DiscardHandler))
	for _, err := range []error{resolved, opened} {
		var usage UsageError
		if !errors.As(err, &usage) ||
			err.Error() != `"nft" is not a backend: write auto, nftables or iptables` {
			t.Error(err)
		}
	}
}
