package daemon

import (
	"context"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/host/history"
)

// TestAuditOfWhatIsInMemory checks that an audit gets the generation in memory with its sets, and
// none if another process has made a newer one.
func TestAuditOfWhatIsInMemory(t *testing.T) {
	store, err := history.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	state := firewall.State{Services: []firewall.Service{{
		Name: "a", Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 1, Last: 1}},
		Sources: address.Must("10.0.0.0/8"),
	}}}
	first, err := store.Append(history.Generation{State: state})
	if err != nil {
		t.Fatal(err)
	}
	var got *history.Generation
	d := &Daemon{
		Config: Config{
			Store: store,
			Audit: func(_ context.Context, g *history.Generation) (audit.Report, error) {
				got = g
				return audit.Report{}, nil
			},
		},
		requests: make(chan func(context.Context)),
		inForce:  &first,
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for {
			select {
			case f := <-d.requests:
				f(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	look := d.audit()
	if _, err := look(ctx); err != nil {
		t.Fatal(err)
	}
	if got == nil || got == &first ||
		got.State.Services[0].Sources.Identity() != state.Services[0].Sources.Identity() {
		t.Errorf("the audit got %v", got)
	}
	if _, err := store.Append(history.Generation{State: state}); err != nil {
		t.Fatal(err)
	}
	if _, err := look(ctx); err != nil || got != nil {
		t.Errorf("the audit got generation %v, though there is a newer one (%v)", got, err)
	}
}
