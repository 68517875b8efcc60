package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/policy"
)

// machine is a Local over a kernel in memory, and a Remote that reaches another one like it over a
// socket.
type machine struct {
	t      *testing.T
	kernel *backendtest.Memory
	local  *host.Local
	now    time.Time
	set    time.Duration // of the wall clock, by somebody
	ops    host.Operations
	guards int
	root   bool
	dir    string
	// compile is the Server's; nil unless a test sets it before overSocket.
	compile func(context.Context, CompileRequest) (*host.Policy, CompiledPolicy, error)
}

func newMachine(t *testing.T) *machine {
	h := &machine{t: t, kernel: &backendtest.Memory{}, now: time.Now(), root: true}
	r := &firewall.Reconciler{
		Backend: h.kernel,
		Now:     func() time.Time { return h.now },
		Log:     slog.New(slog.DiscardHandler),
	}
	h.local = &host.Local{
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

// clock is the host's: nobody sets the wall clock, unless a test does.
func (h *machine) clock() bootclock.Reading {
	return bootclock.Reading{Wall: h.now.Add(h.set), BootID: "this", Uptime: h.now.Sub(begun)}
}

// overSocket has the operations done by a server.
func (h *machine) overSocket() *machine {
	h.dir = h.t.TempDir()
	l, err := net.Listen("unix", filepath.Join(h.dir, Socket))
	if err != nil {
		h.t.Fatal(err)
	}
	var loop sync.Mutex
	mux := http.NewServeMux()
	Server{Local: h.local,
		Run: func(ctx context.Context, f func(context.Context)) error {
			loop.Lock()
			defer loop.Unlock()
			f(ctx)
			return nil
		},
		Policy:   func(context.Context) (*host.Policy, error) { return compile(h.t, own), nil },
		Compile:  h.compile,
		MayWrite: func(*http.Request) (string, bool) { return "root", h.root },
	}.Handle(mux)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	h.t.Cleanup(func() { _ = server.Close() })
	h.ops = NewRemote(h.dir)
	return h
}

func compile(t *testing.T, document string) *host.Policy {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Compile(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &host.Policy{Origin: "policy.yaml", State: c.State}
}

// shown is a result as a script sees it, without what differs from run to run.
func shown(t *testing.T, x any, err error) string {
	t.Helper()
	if err != nil {
		f, status := failureOf(err)
		return f.Kind + " " + http.StatusText(status) + ": " + f.Message
	}
	b, err := json.MarshalIndent(x, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
