package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/bootclock"
	"github.com/portgrave/portgrave/firewall/host/history"
	"github.com/portgrave/portgrave/policy"
)

type commits chan Commit

func (c commits) Next(ctx context.Context) (Commit, error) {
	select {
	case x := <-c:
		return x, nil
	case <-ctx.Done():
		return Commit{}, ctx.Err()
	}
}

// running is a daemon under test.
type running struct {
	t       *testing.T
	kernel  *backendtest.Memory
	commits commits
	dir     string
	log     *syncBuffer
	policy  atomic.Pointer[func() (string, error)] // reads the document
	// how far somebody has set the wall clock, in nanoseconds
	set     atomic.Int64
	watched string // a folder whose files decide what is read
	polled  bool   // the kernel is looked at besides
	served  atomic.Pointer[[]firewall.VirtualService]
	end     func() // ends the daemon
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

func start(t *testing.T) *running { t.Helper(); return startWith(t, nil) }

func startWith(t *testing.T, connections firewall.Connections) *running {
	t.Helper()
	return startSaying(t, somePolicy, connections)
}

func startSaying(t *testing.T, document string, connections firewall.Connections) *running {
	t.Helper()
	r := &running{
		t:       t,
		kernel:  &backendtest.Memory{},
		commits: make(commits),
		dir:     t.TempDir(),
		log:     &syncBuffer{},
		watched: t.TempDir(),
	}
	r.says(func() (string, error) { return document, nil })
	r.served.Store(new([]firewall.VirtualService))
	r.run(connections)
	t.Cleanup(func() { r.end() })
	return r
}

// again ends the daemon and starts another one.
func (r *running) again() {
	r.t.Helper()
	r.end()
	r.log = &syncBuffer{}
	r.run(nil)
}

func (r *running) run(connections firewall.Connections) {
	r.t.Helper()
	store, err := history.Open(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	networks := &policy.Networks{Dir: filepath.Join(r.dir, "networks"),
		Virtual: func() ([]firewall.VirtualService, error) { return *r.served.Load(), nil }}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(r.log, nil))
	c := Config{
		Reconciler: &firewall.Reconciler{
			Backend:     r.kernel,
			Connections: connections,
			Now:         time.Now,
			Log:         log,
		}, Store: store, Commits: r.commits, Polled: r.polled, EventDir: r.dir, RunDir: r.dir, Version: "test", Log: log,
		Read: func(ctx context.Context, _ ReadOptions) (*policy.Policy, *policy.Compiled, error) {
			document, err := (*r.policy.Load())()
			if err != nil {
				return nil, nil, err
			}
			p, err := policy.Parse("policy.yaml", []byte(document))
			if err != nil {
				return nil, nil, err
			}
			c, err := p.Compile(ctx, networks)
			return p, c, err
		},
		ReadText: func(ctx context.Context, text []byte, _ ReadOptions) (*policy.Policy, *policy.Compiled, error) {
			p, err := policy.ReadText(text)
			if err != nil {
				return nil, nil, err
			}
			c, err := p.Compile(ctx, networks)
			return p, c, err
		},
		Virtual: func() ([]firewall.VirtualService, bool, error) {
			return *r.served.Load(), true, nil
		},
		Folders: func(*policy.Policy) []string { return []string{r.watched} },
		Local: &host.Local{
			StateDir:   r.dir,
			Now:        time.Now,
			LockWait:   time.Second,
			Tracking:   tracked,
			StartGuard: func(int) error { return nil },
			Clock: func() bootclock.Reading {
				now := bootclock.System()
				now.Wall = now.Wall.Add(time.Duration(r.set.Load()))
				return now
			},
		},
	}
	c.Local.Backends = func(context.Context, string, bool) (*firewall.Reconciler, error) {
		return c.Reconciler, nil
	}
	go func() { ended <- Run(ctx, c) }()
	r.end = sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			r.t.Errorf("the daemon ended with %v", err)
		}
	})
	r.eventually("readiness", func() bool { return strings.Contains(r.log.String(), "msg=ready") })
}

// says sets what is read from now on.
func (r *running) says(document func() (string, error)) { r.policy.Store(&document) }

// eventually waits for something that must come true.
func (r *running) eventually(what string, f func() bool) {
	r.t.Helper()
	r.within(20*time.Second, what, f)
}

// within is eventually for what takes longer.
func (r *running) within(limit time.Duration, what string, f func() bool) {
	r.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("waited in vain for %s; the log:\n%s", what, r.log)
}

func (r *running) get(path string) (int, string) {
	r.t.Helper()
	response, err := r.client().Get("http://portgrave" + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(b)
}

func (r *running) client() *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				return net.Dial("unix", filepath.Join(r.dir, api.Socket))
			},
		},
	}
}

func (r *running) bend(a *firewall.Author) {
	r.kernel.Set(nil)
	r.commits <- Commit{At: time.Now(), Ours: true, Summary: "ruleset flushed", Author: a}
}
