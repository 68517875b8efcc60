package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/host/history"
)

// TestRestore: where there is no share for the full lists, a small table stands; it is not undone
// and done again, and the lists follow.
func TestRestore(t *testing.T) {
	var long address.Builder
	for n := range 100 {
		if err := long.Add(netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", 2*n))); err != nil {
			t.Fatal(err)
		}
	}
	want, err := firewall.State{
		Unlisted:    firewall.UnlistedIgnore,
		Refuse:      firewall.RefuseDrop,
		Established: firewall.EstablishedCut,
		Services: []firewall.Service{
			{
				Name:    "long",
				Ports:   []firewall.PortRange{{Protocol: firewall.TCP, First: 9090, Last: 9090}},
				Sources: long.Set(),
				Log:     firewall.LogNone,
			},
		},
	}.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	kernel := &backendtest.Memory{}
	d := &Daemon{
		Config: Config{
			Reconciler: &firewall.Reconciler{
				Backend: kernel,
				Now:     time.Now,
				Log:     slog.New(slog.DiscardHandler),
			},
		},
	}
	g := &history.Generation{Record: history.Record{Number: 1}, State: want}
	restore := func(brief, stood bool) restored {
		t.Helper()
		r, err := d.restore(context.Background(), g, brief, stood)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := restore(true, false); !r.owed || !r.missing || r.standing.IsZero() ||
		kernel.Held() == nil ||
		kernel.Held().Services[0].Sources.Len() != 0 {
		t.Errorf("brief: %+v", r)
	}
	if r := restore(true, true); !r.owed || r.missing || !r.Plan.InSync() || kernel.Applies() != 1 {
		t.Errorf("brief again: %+v", r)
	}
	if r := restore(false, true); r.owed || r.missing || !kernel.Held().Equal(want) ||
		kernel.Applies() != 2 {
		t.Errorf("full: %+v", r)
	}
	if r := restore(true, false); r.owed || r.missing || !r.Plan.InSync() {
		t.Errorf("nothing to do: %+v", r)
	}
	kernel.Set(nil)
	if r := restore(false, false); r.owed || !r.missing || !kernel.Held().Equal(want) ||
		kernel.Applies() != 3 {
		t.Errorf("few changes: %+v", r)
	}
}
