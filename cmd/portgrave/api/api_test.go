package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host"
)

// begun is when the system of every host was started.
var begun = time.Now().Add(-1000 * time.Hour)

const (
	own   = "version: 1\nservices: [{name: metrics, allow: [10.0.0.0/8]}]\n"
	wider = "version: 1\nservices: [{name: metrics, allow: [10.0.0.0/8, 192.0.2.0/24]}, {name: web, port: [443, 8000-8010], allow: [any]}]\n"
)

var caller = host.Caller{
	User: "ana",
	From: "192.0.2.1",
	Session: &host.Session{
		Client: netip.MustParseAddrPort("192.0.2.1:5000"),
		Server: netip.MustParseAddrPort("192.0.2.9:22"),
	},
}

// script is a life of a host: every operation, those that succeed and those that are refused.
func script(t *testing.T, h *machine) (lines []string) {
	ctx := context.Background()
	say := func(x any, err error) { t.Helper(); lines = append(lines, shown(t, x, err)) }
	number := func(n int) *int { return &n }
	var leaseID string
	for _, step := range []func() (any, error){
		func() (any, error) { return h.ops.Drift(ctx, host.FirewallRequest{}) },
		func() (any, error) { return h.ops.Confirm(ctx, host.ConfirmRequest{Caller: caller}) },
		func() (any, error) {
			return h.ops.Open(ctx, host.OpenRequest{
				Caller: caller, Port: "9090", Sources: []string{"203.0.113.7"}, For: "2h",
			})
		},
		func() (any, error) { return h.ops.Rollback(ctx, host.RollbackRequest{Caller: caller}) },
		func() (any, error) { return h.ops.Plan(ctx, host.PlanRequest{Policy: compile(t, own)}) },
		func() (any, error) {
			return h.ops.Apply(ctx, host.ApplyRequest{
				Caller: caller, Reason: "one", Policy: compile(t, own),
			})
		},
		func() (any, error) {
			return h.ops.Apply(ctx, host.ApplyRequest{
				Caller: caller, Reason: "again", Policy: compile(t, own),
			})
		},
		func() (any, error) {
			p := compile(t, wider)
			p.FailedTests = []json.RawMessage{
				json.RawMessage(`{"from":"8.8.8.8","to":"metrics","expect":"allow","got":"deny"}`),
			}
			return h.ops.Apply(ctx, host.ApplyRequest{Caller: caller, Policy: p})
		},
		func() (any, error) {
			return h.ops.Apply(ctx, host.ApplyRequest{
				Caller: caller, Confirm: "1s", Policy: compile(t, wider),
			})
		},
		func() (any, error) {
			return h.ops.Apply(ctx, host.ApplyRequest{
				Caller: caller, Confirm: "soon", Policy: compile(t, wider),
			})
		},
		func() (any, error) {
			return h.ops.Apply(ctx, host.ApplyRequest{
				Caller: caller, Confirm: "60s", Reason: "two", Policy: compile(t, wider),
			})
		},
		func() (any, error) {
			return h.ops.Open(ctx, host.OpenRequest{
				Caller: caller, Port: "9090", Sources: []string{"203.0.113.7"}, For: "2h",
			})
		},
		func() (any, error) { return h.ops.TakeBack(ctx) },
		func() (any, error) { h.now = h.now.Add(2 * time.Minute); return h.ops.TakeBack(ctx) },
		func() (any, error) {
			return h.ops.Apply(ctx, host.ApplyRequest{
				Caller: caller, Confirm: "60s", Reason: "three", Policy: compile(t, wider),
			})
		},
		func() (any, error) { return h.ops.Confirm(ctx, host.ConfirmRequest{Caller: caller}) },
		func() (any, error) { return h.ops.Confirm(ctx, host.ConfirmRequest{Caller: caller}) },
		func() (any, error) {
			return h.ops.Plan(ctx, host.PlanRequest{From: number(1), To: number(4)})
		},
		func() (any, error) {
			return h.ops.Plan(ctx, host.PlanRequest{From: number(0), Policy: compile(t, own)})
		},
		func() (any, error) {
			return h.ops.Plan(ctx, host.PlanRequest{From: number(1), To: number(99)})
		},
		func() (any, error) {
			return h.ops.Plan(ctx, host.PlanRequest{To: number(1), Policy: compile(t, own)})
		},
		func() (any, error) {
			return h.ops.Open(ctx, host.OpenRequest{
				Caller: caller, Port: "9090/tcp", Sources: []string{"203.0.113.7/24"}, For: "2",
			})
		},
		func() (any, error) {
			return h.ops.Open(ctx, host.OpenRequest{
				Caller: caller, Port: "9090", Sources: []string{"203.0.113.7"}, For: "25h",
			})
		},
		func() (any, error) {
			o, err := h.ops.Open(ctx, host.OpenRequest{
				Caller:  caller,
				Port:    "9090",
				Sources: []string{"203.0.113.7"},
				For:     "2h",
				Reason:  "INC-42",
			})
			leaseID = o.Lease.ID
			return o, err
		},
		func() (any, error) { return h.ops.Leases(ctx) },
		func() (any, error) { return h.ops.Firewall(ctx, host.FirewallRequest{}) },
		func() (any, error) { h.kernel.Set(nil); return h.ops.Drift(ctx, host.FirewallRequest{}) },
		func() (any, error) {
			return h.ops.Close(ctx, host.CloseRequest{Caller: caller, Lease: "nobody"})
		},
		func() (any, error) {
			return h.ops.Close(ctx, host.CloseRequest{
				Caller: caller, Lease: "9090", Reason: "done",
			})
		},
		func() (any, error) {
			return h.ops.Rollback(ctx, host.RollbackRequest{Caller: caller, Generation: 77})
		},
		func() (any, error) { return h.ops.Rollback(ctx, host.RollbackRequest{Caller: caller}) },
		func() (any, error) {
			h.kernel.Fail(firewall.ErrPermission)
			return h.ops.Drift(ctx, host.FirewallRequest{})
		},
		func() (any, error) {
			h.kernel.Fail(firewall.ErrForeign)
			return h.ops.Teardown(ctx, host.TeardownRequest{Caller: caller})
		},
		func() (any, error) {
			h.kernel.Fail(nil)
			return h.ops.Teardown(ctx, host.TeardownRequest{Caller: caller})
		},
		func() (any, error) { return h.ops.Teardown(ctx, host.TeardownRequest{Caller: caller}) },
		func() (any, error) { return h.ops.History(ctx) },
	} {
		say(step())
	}
	if leaseID == "" {
		t.Error("no lease was opened")
	}
	for i, l := range lines {
		lines[i] = strings.ReplaceAll(l, leaseID, "LEASE")
	}
	return lines
}

// Whoever asks the daemon gets, word for word, what he would get by doing it himself.
func TestRemoteIsLikeLocal(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Hour)
	run := func(h *machine) []string {
		h.now = at
		lines := script(t, h)
		if h.guards != 2 {
			t.Errorf("%d guards were started", h.guards)
		}
		return lines
	}
	here, there := run(newMachine(t)), run(newMachine(t).overSocket())
	if diff := cmp.Diff(here, there); diff != "" {
		t.Errorf("local and remote differ:\n%s", diff)
	}
	whole := strings.Join(here, "\n")
	for _, want := range []string{"usage Bad Request: 25h is too long", "tests Unprocessable Entity", "permission Forbidden", "foreign Conflict", "generation 99 doesn't exist",
		`"confirm_by": "2`, `"done": true`, `"done": false`, `"reason": "INC-42"`, "waits to be confirmed", "203.0.113.7/24", "back to generation 1", "generation 2 was not confirmed",
		"plan --to needs --from", "--confirm takes from 5s", `"soon" is not a duration: write --confirm 60s`, `"torn_down": true`, "run portgrave apply first"} {
		if !strings.Contains(whole, want) {
			t.Errorf("nothing says %q in\n%s", want, whole)
		}
	}
}

// What stands in the kernel after an operation is what it says.
func TestOperationsReachTheKernel(t *testing.T) {
	h := newMachine(t).overSocket()
	ctx := context.Background()
	if _, err := h.ops.Apply(ctx, host.ApplyRequest{Policy: compile(t, wider)}); err != nil ||
		!h.kernel.Held().Equal(compile(t, wider).State) {
		t.Fatalf("apply: %v", err)
	}
	o, err := h.ops.Open(
		ctx,
		host.OpenRequest{Port: "8005", Sources: []string{"203.0.113.7"}, For: "2h"},
	)
	if err != nil || !o.Changed == (len(h.kernel.Held().Services) > 2) {
		t.Errorf("open: %+v, %v, %v", o, err, h.kernel.Held())
	}
	// A request that brings no policy means the daemon's own; without a user it is who the kernel
	// says.
	a, err := ask[host.Applied](ctx, h.ops.(*Remote), http.MethodPost, "/v1/apply", none{})
	if err != nil || !a.Changed || !h.kernel.Held().Equal(compile(t, own).State) {
		t.Errorf("an empty apply: %+v, %v", a, err)
	}
	if g, err := h.ops.History(ctx); err != nil || g.Generations[0].User != "root" {
		t.Errorf("the user is %+v, %v", g, err)
	}
	if d, err := ask[host.Difference](
		ctx, h.ops.(*Remote), http.MethodPost, "/v1/plan", none{},
	); err != nil ||
		!d.InSync {
		t.Errorf("an empty plan: %+v, %v", d, err)
	}
}

func TestWritersAreRoot(t *testing.T) {
	h := newMachine(t).overSocket()
	ctx := context.Background()
	if _, err := h.ops.Apply(ctx, host.ApplyRequest{Policy: compile(t, own)}); err != nil {
		t.Fatal(err)
	}
	h.root = false
	for name, err := range map[string]error{
		"apply":    second(h.ops.Apply(ctx, host.ApplyRequest{Policy: compile(t, wider)})),
		"confirm":  second(h.ops.Confirm(ctx, host.ConfirmRequest{})),
		"rollback": second(h.ops.Rollback(ctx, host.RollbackRequest{})),
		"teardown": second(h.ops.Teardown(ctx, host.TeardownRequest{})),
		"open":     second(h.ops.Open(ctx, host.OpenRequest{Port: "9090", Sources: []string{"any"}, For: "1h"})),
		"close":    second(h.ops.Close(ctx, host.CloseRequest{Lease: "9090"})),
		"takeback": second(h.ops.TakeBack(ctx)),
	} {
		if !errors.Is(err, firewall.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"firewall": second(h.ops.Firewall(ctx, host.FirewallRequest{})),
		"drift":    second(h.ops.Drift(ctx, host.FirewallRequest{})),
		"plan":     second(h.ops.Plan(ctx, host.PlanRequest{Policy: compile(t, wider)})),
		"history":  second(h.ops.History(ctx)),
		"leases":   second(h.ops.Leases(ctx)),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !h.kernel.Held().Equal(compile(t, own).State) {
		t.Error("the rules changed")
	}
}

func second[A any](_ A, err error) error { return err }

// TestBothForms: a policy means the same as JSON, as somebody may write it, and as our own requests
// have it.
func TestBothForms(t *testing.T) {
	h := newMachine(t).overSocket()
	p := compile(t, wider)
	text, err := json.Marshal(host.PlanRequest{Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	response, err := h.ops.(*Remote).send(
		t.Context(),
		http.MethodPost,
		"/v1/plan",
		text,
		"application/json",
	)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var byHand host.Difference
	if err := json.NewDecoder(response.Body).Decode(&byHand); err != nil {
		t.Fatal(err)
	}
	ours, err := h.ops.Plan(t.Context(), host.PlanRequest{Policy: p})
	if err != nil || len(ours.Changes) == 0 {
		t.Fatal(ours, err)
	}
	if diff := cmp.Diff(byHand, ours); diff != "" {
		t.Error(diff)
	}
	var back host.PlanRequest
	body, _, err := encodeRequest(host.PlanRequest{Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	if err := decodeWithState(body, &back); err != nil || !back.Policy.State.Equal(p.State) ||
		back.Policy.Origin != p.Origin {
		t.Errorf("came back as %+v, %v", back.Policy, err)
	}
}

// A request that is not understood to the letter changes nothing.
func TestBadRequests(t *testing.T) {
	h := newMachine(t).overSocket()
	for name, body := range map[string]string{
		"no JSON":       "force",
		"an array":      "[]",
		"unknown key":   `{"forse": true}`,
		"two objects":   `{} {}`,
		"wrong type":    `{"reason": 7}`,
		"a bad state":   `{"policy": {"origin": "x", "state": {"services": [{"name": "a", "sources": ["10.0.0.0/99"]}]}}}`,
		"overlapping":   `{"policy": {"origin": "x", "state": {"services": [{"name": "a", "ports": ["tcp/1"]}, {"name": "b", "ports": ["tcp/1"]}]}}}`,
		"a torn one":    `{"policy": {"origin": "x"`,
		"a bad session": `{"session": {"client": "nobody"}}`,
	} {
		_, err := h.ops.(*Remote).send(
			context.Background(),
			http.MethodPost,
			"/v1/apply",
			[]byte(body),
			"application/json",
		)
		var usage host.UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole, contentType, err := encodeRequest(host.ApplyRequest{Policy: compile(t, wider)})
	if err != nil || contentType != withBinaryState {
		t.Fatal(contentType, err)
	}
	line, _, _ := bytes.Cut(whole, []byte("\n"))
	for name, body := range map[string][]byte{
		"no state":          line,
		"half a state":      whole[:len(whole)-1],
		"more than a state": append(slices.Clip(whole), 0),
		"a damaged state":   bytes.Replace(whole, []byte{10, 0, 0, 0, 10, 255, 255, 255}, []byte{10, 0, 0, 0, 9, 255, 255, 255}, 1),
		"nothing":           nil,
		"no policy":         append([]byte("{}\n"), whole[len(line)+1:]...),
	} {
		_, err := h.ops.(*Remote).send(
			context.Background(),
			http.MethodPost,
			"/v1/apply",
			body,
			contentType,
		)
		var usage host.UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if h.kernel.Applies() != 0 {
		t.Error("something was applied")
	}
	if _, err := NewRemote(filepath.Join(t.TempDir(), "none")).History(context.Background()); !errors.Is(
		err,
		ErrNoDaemon,
	) {
		t.Errorf("without a daemon: %v", err)
	}
}

// FuzzRequest: whatever is sent is refused or understood, and never ends the daemon.
func FuzzRequest(f *testing.F) {
	for _, q := range []any{
		host.ApplyRequest{Caller: caller, Confirm: "60s"},
		host.OpenRequest{Port: "9090", Sources: []string{"10.0.0.0/8"}, For: "2h"},
		host.PlanRequest{},
	} {
		b, err := json.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	policy := firewall.State{
		Unlisted: firewall.UnlistedIgnore,
		Services: []firewall.Service{
			{
				Name:    "a",
				Ports:   []firewall.PortRange{{Protocol: firewall.TCP, First: 1, Last: 2}},
				Sources: address.Must("10.0.0.0/8", "::/0"),
			},
		},
	}
	if b, _, err := encodeRequest(host.PlanRequest{
		Policy: &host.Policy{State: policy},
	}); err != nil {
		f.Fatal(err)
	} else {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, q := range []any{&host.ApplyRequest{}, &host.PlanRequest{}, &host.CloseRequest{}} {
			if err := decodeWithState(b, q); err != nil {
				if f, status := failureOf(err); f.Kind != "usage" ||
					status != http.StatusBadRequest {
					t.Errorf("%v is %+v", err, f)
				}
			} else if _, err := json.Marshal((*policyOf(q)).State); err != nil {
				t.Errorf("what was read is no State: %v", err)
			}
		}
		for _, q := range []any{
			&host.ApplyRequest{}, &host.OpenRequest{}, &host.PlanRequest{}, &host.CloseRequest{},
		} {
			if err := decode(b, q); err != nil {
				if f, status := failureOf(err); f.Kind != "usage" ||
					status != http.StatusBadRequest {
					t.Errorf("%v is %+v", err, f)
				}
			}
		}
	})
}
