package nft

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// The real kernel's answer to a refused transaction names the object, and nothing of it is done.
func TestRefusedTransactionNamesTheObject(t *testing.T) {
	inNamespace(t)
	b := open(t)
	err := b.kernel.commit(
		[]op{addTable{mark: tableMark}, addChain{name: "fine"}, delChain{"missing"}},
		0,
	)
	if err == nil || !strings.Contains(err.Error(), "table inet portgrave, chain missing") ||
		!errors.Is(err, unix.ENOENT) {
		t.Errorf("got %v", err)
	}
	seen, err := b.Observe(context.Background())
	if err != nil || seen.Present() {
		t.Errorf("present %v, %v", seen != nil && seen.Present(), err)
	}
	if err := b.kernel.commit([]op{addTable{mark: tableMark}}, 4_000_000_000); !errors.Is(
		err,
		firewall.ErrConflict,
	) {
		t.Errorf("a transaction for another generation: %v", err)
	}
}
