package host

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
)

// startAnew is what a reboot does to a host: the kernel forgets.
func startAnew(h *host) { h.kernel.Set(nil) }

// damage flips a bit of a generation's file.
func damage(t *testing.T, h *host, n string) {
	t.Helper()
	path := filepath.Join(h.local.StateDir, "generations", n+".generation")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-3] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// unconfirmed records a policy as one that was applied on trial before the system was started anew.
func unconfirmed(t *testing.T, h *host, document string) {
	t.Helper()
	onTrial(t, h, document, "another")
}

// onTrial records a policy as one that was applied on trial in a start of the system.
func onTrial(t *testing.T, h *host, document, bootID string) {
	t.Helper()
	store, unlock, err := h.local.exclusive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := store.Append(history.Generation{State: compile(t, document).State, Record: history.Record{Backend: "memory", Time: h.now, ConfirmBy: h.now.Add(time.Hour), BootID: bootID}}); err != nil {
		t.Fatal(err)
	}
}

// verdict is what the kernel does with a new connection.
func verdict(h *host, from string, port uint16) string {
	held := h.kernel.Held()
	if held == nil {
		return "unguarded"
	}
	d := held.Decide(
		firewall.Flow{
			Protocol:    firewall.TCP,
			Source:      netip.MustParseAddr(from),
			Destination: netip.MustParseAddr("192.0.2.9"),
			Port:        port,
			Interface:   "eth0",
		},
		h.now,
	)
	if d.Verdict == firewall.Refused {
		return "refused"
	}
	return "accepted"
}

func TestBoot(t *testing.T) {
	const office, stranger = "10.1.2.3", "198.51.100.1"
	apply := func(t *testing.T, h *host, document string) {
		t.Helper()
		if _, err := h.ops.Apply(t.Context(), ApplyRequest{
			Policy: compile(t, document),
		}); err != nil {
			t.Fatal(err)
		}
	}
	type seen struct {
		Loaded                           string
		Generation                       int
		Office, Stranger, Web, Elsewhere string // at 9090, 9090, 443 and 22
	}
	guarded := seen{
		Loaded:     LoadedGeneration,
		Generation: 1,
		Office:     "accepted",
		Stranger:   "refused",
		Web:        "accepted",
		Elsewhere:  "accepted",
	}
	compiled := guarded
	compiled.Loaded, compiled.Generation = LoadedPolicy, 0
	closed := seen{
		Loaded:    LoadedClosed,
		Office:    "refused",
		Stranger:  "refused",
		Web:       "accepted",
		Elsewhere: "accepted",
	}
	unguarded := seen{
		Office:    "unguarded",
		Stranger:  "unguarded",
		Web:       "unguarded",
		Elsewhere: "unguarded",
	}
	loaded := func(s seen, what string) seen { s.Loaded = what; return s }
	for name, c := range map[string]struct {
		before  func(*testing.T, *host)
		policy  string // "": it can't be compiled
		outline firewall.Outline
		want    seen
		says    []string // in the fallbacks, in this order
	}{
		"as it was":          {before: func(t *testing.T, h *host) { apply(t, h, own) }, policy: wider, want: guarded},
		"never applied":      {policy: own, want: compiled, says: []string{"nothing has been applied yet"}},
		"damaged":            {before: func(t *testing.T, h *host) { apply(t, h, wider); damage(t, h, "000001") }, policy: own, want: compiled, says: []string{"000001.generation is damaged"}},
		"no state directory": {before: func(t *testing.T, h *host) { apply(t, h, wider); mustRemove(t, h.local.StateDir) }, policy: own, want: compiled, says: []string{"nothing has been applied yet"}},
		"on trial":           {before: func(t *testing.T, h *host) { apply(t, h, own); unconfirmed(t, h, wider) }, policy: wider, want: guarded},
		"the first one on trial": {before: func(t *testing.T, h *host) { unconfirmed(t, h, wider) }, policy: wider,
			want: loaded(unguarded, LoadedNothing), says: []string{"generation 1 was not confirmed, and nothing was in force before"}},
		"on trial, and what was before is damaged": {before: func(t *testing.T, h *host) { apply(t, h, own); unconfirmed(t, h, wider); damage(t, h, "000001") }, policy: wider,
			outline: firewall.Outline{
				Complete: true,
				Unlisted: firewall.UnlistedIgnore,
				Ports:    compile(t, own).State.Services[0].Ports,
			},
			want: closed, says: []string{"damaged", "the policy is generation 2, which was not confirmed"}},
		"damaged, and a bad policy": {before: func(t *testing.T, h *host) { apply(t, h, own); damage(t, h, "000001") },
			outline: firewall.Outline{
				Complete: true,
				Unlisted: firewall.UnlistedIgnore,
				Ports:    compile(t, own).State.Services[0].Ports,
			},
			want: closed, says: []string{"damaged", "the policy can't be used: line 3"}},
		"boot: open": {before: func(t *testing.T, h *host) { apply(t, h, own); damage(t, h, "000001") }, outline: firewall.Outline{Open: true},
			want: loaded(unguarded, LoadedOpen), says: []string{"damaged", "the policy can't be used", "the policy says boot: open"}},
		"ports that only an older generation tells": {before: func(t *testing.T, h *host) { apply(t, h, own); apply(t, h, wider); damage(t, h, "000002") },
			outline: firewall.Outline{Unlisted: firewall.UnlistedIgnore}, want: closed, says: []string{"damaged", "the policy can't be used", "can't be made out which ports"}},
		"nothing is known": {before: func(t *testing.T, h *host) { apply(t, h, own); damage(t, h, "000001") }, outline: firewall.Outline{Unlisted: firewall.UnlistedIgnore},
			want: seen{Loaded: LoadedClosed, Office: "refused", Stranger: "refused", Web: "refused", Elsewhere: "refused"}, says: []string{"damaged", "the policy can't be used", "can't be made out", "every port is closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			if c.before != nil {
				c.before(t, h)
			}
			startAnew(h)
			b := h.boot(
				t,
				BootRequest{
					Outline: func() firewall.Outline { return c.outline },
					Policy: func(context.Context) (*Policy, error) {
						if c.policy == "" {
							return nil, errors.New("line 3")
						}
						return compile(t, c.policy), nil
					},
				},
			)
			got := seen{
				b.Loaded,
				b.Generation,
				verdict(h, office, 9090),
				verdict(h, stranger, 9090),
				verdict(h, stranger, 443),
				verdict(h, stranger, 22),
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s%+v", diff, b)
			}
			said := strings.Join(b.Fallbacks, "\n")
			for _, part := range c.says {
				_, rest, found := strings.Cut(said, part)
				if !found {
					t.Errorf("%q is not said in %q", part, b.Fallbacks)
				}
				said = rest
			}
			if b.Well() != (len(c.says) == 0) || b.Error != "" {
				t.Errorf("%+v", b)
			}
		})
	}
}

func mustRemove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func (h *host) boot(t *testing.T, q BootRequest) Booted {
	t.Helper()
	b, err := h.local.Boot(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBootLeavesATrialAlone: the unit that is started once more does not end what waits to be
// confirmed in this start of the system.
func TestBootLeavesATrialAlone(t *testing.T) {
	h := newHost(t)
	if _, err := h.ops.Apply(t.Context(), ApplyRequest{Policy: compile(t, own)}); err != nil {
		t.Fatal(err)
	}
	onTrial(t, h, wider, h.clock().BootID)
	before := h.kernel.Held()
	if _, err := h.local.Boot(t.Context(), BootRequest{}); err == nil ||
		!strings.Contains(err.Error(), "generation 2 waits to be confirmed") {
		t.Errorf("%v", err)
	}
	if !h.kernel.Held().Equal(*before) {
		t.Error("it changed what is in force")
	}
}

// TestBootTellsTheHistory: a generation on trial that a boot did not load is over.
func TestBootTellsTheHistory(t *testing.T) {
	h := newHost(t)
	if _, err := h.ops.Apply(t.Context(), ApplyRequest{Policy: compile(t, own)}); err != nil {
		t.Fatal(err)
	}
	unconfirmed(t, h, wider)
	startAnew(h)
	if b := h.boot(t, BootRequest{}); b.Generation != 1 || len(b.Warnings) > 0 {
		t.Errorf("%+v", b)
	}
	if d, err := h.ops.Drift(t.Context(), FirewallRequest{}); err != nil || !d.InSync {
		t.Errorf("%+v, %v", d, err)
	}
	l, err := h.ops.History(t.Context())
	if err != nil || len(l.Generations) != 3 ||
		!strings.Contains(
			l.Generations[0].Reason,
			"started anew before generation 2 was confirmed",
		) {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestBootWithLeases: those that run are in force again, those that have ended are not, nor are
// policy entries that have.
func TestBootWithLeases(t *testing.T) {
	h := newHost(t)
	expiring := strings.Replace(
		own,
		"[10.0.0.0/8]",
		"[10.0.0.0/8, {cidr: 203.0.113.0/28, expires: "+h.now.Add(time.Hour).
			UTC().
			Format(time.RFC3339)+
			"}]",
		1,
	)
	if _, err := h.ops.Apply(t.Context(), ApplyRequest{Policy: compile(t, expiring)}); err != nil {
		t.Fatal(err)
	}
	for source, length := range map[string]string{"198.51.100.7": "5m", "198.51.100.8": "3h"} {
		if _, err := h.ops.Open(t.Context(), OpenRequest{
			Port: "9090", Sources: []string{source}, For: length, Reason: "x",
		}); err != nil {
			t.Fatal(err)
		}
	}
	look := func() string {
		startAnew(h)
		if b := h.boot(t, BootRequest{}); b.Loaded != LoadedGeneration || !b.Well() ||
			len(b.Warnings) > 0 {
			t.Errorf("%+v", b)
		}
		return verdict(
			h,
			"203.0.113.1",
			9090,
		) + " " + verdict(
			h,
			"198.51.100.7",
			9090,
		) + " " + verdict(
			h,
			"198.51.100.8",
			9090,
		)
	}
	if got := look(); got != "accepted accepted accepted" {
		t.Error(got)
	}
	h.now = h.now.Add(2 * time.Hour)
	if got := look(); got != "refused refused accepted" {
		t.Errorf("two hours later: %s", got)
	}
	// A clock without a battery starts in the past. The history knows of a later time.
	later, past := h.now.Add(2*time.Hour), h.now.Add(-24*time.Hour)
	h.now = later
	if _, err := h.ops.Apply(t.Context(), ApplyRequest{
		Policy: compile(t, expiring+"refuse: reject\n"),
	}); err != nil {
		t.Fatal(err)
	}
	h.now = past
	startAnew(h)
	b := h.boot(t, BootRequest{})
	h.now = later
	got := verdict(h, "203.0.113.1", 9090) + " " + verdict(h, "198.51.100.8", 9090)
	if got != "refused refused" ||
		!b.Well() {
		t.Errorf("by a clock in the past: %s, %+v", got, b)
	}
	for _, svc := range h.kernel.Held().Services {
		for _, e := range svc.Expiring {
			if e.Prefix == netip.MustParsePrefix("198.51.100.8/32") {
				t.Error("a lease that is over is in force")
			}
		}
	}
}

// TestBootByOtherMeans: what can't be put in force through one backend is through the other, and if
// through none, that is said.
func TestBootByOtherMeans(t *testing.T) {
	h := newHost(t)
	if _, err := h.ops.Apply(t.Context(), ApplyRequest{Policy: compile(t, own)}); err != nil {
		t.Fatal(err)
	}
	store, unlock, err := h.local.exclusive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	last, err := store.Last()
	if err != nil {
		t.Fatal(err)
	}
	last.Backend = "nftables"
	if _, err = store.Append(*last); err != nil {
		t.Fatal(err)
	}
	unlock()
	good := h.local.Backends
	h.local.Backends = func(ctx context.Context, name string, thorough bool) (*firewall.Reconciler, error) {
		if name == "nftables" {
			return nil, firewall.ErrUnsupported
		}
		return good(ctx, name, thorough)
	}
	startAnew(h)
	if b := h.boot(t, BootRequest{}); b.Generation != 2 || len(b.Fallbacks) != 1 ||
		!strings.Contains(b.Fallbacks[0], "through nftables: the kernel does not support") {
		t.Errorf("%+v", b)
	}
	h.local.Backends = func(context.Context, string, bool) (*firewall.Reconciler, error) {
		return nil, firewall.ErrUnsupported
	}
	b := h.boot(
		t,
		BootRequest{
			Outline: func() firewall.Outline {
				return firewall.Outline{Unlisted: firewall.UnlistedIgnore}
			},
			Policy: func(context.Context) (*Policy, error) { return compile(t, own), nil },
		},
	)
	if b.Loaded != LoadedNothing || b.Error == "" || len(b.Fallbacks) != 7 {
		t.Errorf("%+v", b)
	}
}

// TestBooted: the report is for this start of the system alone.
func TestBooted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	b := Booted{BootID: "a", Loaded: LoadedClosed, Fallbacks: []string{"x"}}
	if LastBooted(dir, "a") != nil {
		t.Error("a report out of nothing")
	}
	if err := KeepBooted(dir, b); err != nil {
		t.Fatal(err)
	}
	if got := LastBooted(dir, "a"); got == nil || cmp.Diff(b, *got) != "" {
		t.Errorf("%+v", got)
	}
	if LastBooted(dir, "b") != nil {
		t.Error("the report of another start")
	}
}
