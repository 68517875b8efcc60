package host

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/firewall/host/lease"
	"github.com/portgrave/portgrave/policy"
)

// host is a Local over a kernel in memory.
type host struct {
	t      *testing.T
	kernel *backendtest.Memory
	local  *Local
	now    time.Time
	set    time.Duration // of the wall clock, by somebody
	ops    Operations
	guards int
}

func newHost(t *testing.T) *host {
	h := &host{t: t, kernel: &backendtest.Memory{}, now: time.Now()}
	r := &firewall.Reconciler{
		Backend: h.kernel,
		Now:     func() time.Time { return h.now },
		Log:     slog.New(slog.DiscardHandler),
	}
	h.local = &Local{
		StateDir:   t.TempDir(),
		Now:        func() time.Time { return h.now },
		LockWait:   time.Second,
		MaxLease:   func() (time.Duration, error) { return 24 * time.Hour, nil },
		StartGuard: func(int) error { h.guards++; return nil },
		Clock:      h.clock,
		Backends: func(context.Context, string, bool) (*firewall.Reconciler, error) {
			return r, nil
		},
	}
	h.ops = h.local
	return h
}

// begun is when the system of every host was started.
var begun = time.Now().Add(-1000 * time.Hour)

// clock is the host's: nobody sets the wall clock, unless a test does.
func (h *host) clock() bootclock.Reading {
	return bootclock.Reading{Wall: h.now.Add(h.set), BootID: "this", Uptime: h.now.Sub(begun)}
}

const (
	own   = "version: 1\nservices: [{name: metrics, allow: [10.0.0.0/8]}]\n"
	wider = "version: 1\nservices: [{name: metrics, allow: [10.0.0.0/8, 192.0.2.0/24]}, {name: web, port: [443, 8000-8010], allow: [any]}]\n"
)

func compile(t *testing.T, document string) *Policy {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Compile(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Policy{Origin: "policy.yaml", State: c.State}
}

var caller = Caller{
	User: "ana",
	From: "192.0.2.1",
	Session: &Session{
		Client: netip.MustParseAddrPort("192.0.2.1:5000"),
		Server: netip.MustParseAddrPort("192.0.2.9:22"),
	},
}

// What nobody has confirmed does not survive a reboot, though its time is not up.
func TestUnconfirmedEndsWithTheBoot(t *testing.T) {
	h := newHost(t)
	ctx := context.Background()
	if _, err := h.ops.Apply(ctx, ApplyRequest{Policy: compile(t, own)}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ops.Apply(ctx, ApplyRequest{
		Confirm: "1h", Policy: compile(t, wider),
	}); err != nil {
		t.Fatal(err)
	}
	if x, err := h.ops.TakeBack(ctx); err != nil || x.Done {
		t.Fatalf("in the same boot: %+v, %v", x, err)
	}
	store, unlock, err := h.local.exclusive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	g, err := store.Last()
	if err != nil || g.BootID == "" {
		t.Fatalf("%+v, %v", g, err)
	}
	g.BootID = "another"
	_, err = store.Append(*g)
	unlock()
	if err != nil {
		t.Fatal(err)
	}
	x, err := h.ops.TakeBack(ctx)
	if err != nil || !x.Done || !h.kernel.Held().Equal(compile(t, own).State) {
		t.Errorf("after a boot: %+v, %v", x, err)
	}
	if l, err := h.ops.History(ctx); err != nil ||
		!strings.Contains(
			l.Generations[0].Reason,
			"started anew before generation 3 was confirmed",
		) {
		t.Errorf("%+v, %v", l, err)
	}
}

// Leases that are over are recorded, once, and leave nothing behind.
func TestEndOfLeases(t *testing.T) {
	h := newHost(t)
	ctx := context.Background()
	if _, err := h.ops.Apply(ctx, ApplyRequest{
		Policy: compile(t, strings.Replace(wider, "any", "10.0.0.0/8", 1)),
	}); err != nil {
		t.Fatal(err)
	}
	before := h.kernel.Held()
	// Opened two hours ago for one hour: the kernel has ended it.
	store := lease.At(h.local.StateDir)
	past := time.Now().Add(-2 * time.Hour).Truncate(time.Second).UTC()
	store.Clock = func() lease.Reading { return lease.Reading{Wall: past} }
	x, err := store.Add(
		lease.Lease{
			Ports:   []firewall.PortRange{{Protocol: firewall.TCP, First: 8005, Last: 8005}},
			Sources: address.Must("203.0.113.7/32"),
			Opened:  past,
			Until:   past.Add(time.Hour),
			User:    "ana",
			Reason:  "INC-42",
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	last, err := h.local.view().Last()
	if err != nil {
		t.Fatal(err)
	}
	enforced, err := lease.Apply(last.State, []lease.Lease{x}, past)
	if err != nil {
		t.Fatal(err)
	}
	history_, unlock, err := h.local.exclusive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, err = history_.Append(
		history.Generation{
			Record: history.Record{Backend: "memory", Confirmed: true},
			State:  last.State,
			Leased: &enforced,
		},
	)
	unlock()
	if err != nil {
		t.Fatal(err)
	}
	h.kernel.Set(&enforced)
	ended, err := h.local.EndLeases(ctx)
	if err != nil || len(ended) != 1 || ended[0].ID != x.ID {
		t.Fatalf("%+v, %v", ended, err)
	}
	if !h.kernel.Held().Equal(*before) {
		t.Errorf("the kernel holds %+v", h.kernel.Held())
	}
	list, err := h.ops.History(ctx)
	if err != nil || len(list.Generations) != 3 ||
		!strings.Contains(list.Generations[0].Summary, x.ID+" (tcp/8005 to 203.0.113.7)") ||
		list.Generations[0].User != itself {
		t.Errorf("%+v, %v", list, err)
	}
	if ended, err := h.local.EndLeases(ctx); err != nil || len(ended) != 0 {
		t.Errorf("the second time: %+v, %v", ended, err)
	}
}
