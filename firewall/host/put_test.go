package host

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

// writing are the operations that change the rules of a host with two generations and a lease on
// port 9090.
func writing(t *testing.T, h *host) map[string]func() error {
	ctx := context.Background()
	policy := compile(t, "version: 1\nservices: [{name: metrics, allow: [172.16.0.0/12]}]\n")
	return map[string]func() error{
		"apply": func() error { _, err := h.local.Apply(ctx, ApplyRequest{Caller: caller, Policy: policy}); return err },
		"apply on trial": func() error {
			_, err := h.local.Apply(
				ctx,
				ApplyRequest{Caller: caller, Policy: policy, Confirm: "60s"},
			)
			return err
		},
		"rollback": func() error { _, err := h.local.Rollback(ctx, RollbackRequest{Caller: caller}); return err },
		"open": func() error {
			_, err := h.local.Open(
				ctx,
				OpenRequest{
					Caller:  caller,
					Port:    "9090",
					Sources: []string{"198.51.100.77"},
					For:     "1h",
					Reason:  "x",
				},
			)
			return err
		},
		"close":    func() error { _, err := h.local.Close(ctx, CloseRequest{Caller: caller, Lease: "9090"}); return err },
		"teardown": func() error { _, err := h.local.Teardown(ctx, TeardownRequest{Caller: caller}); return err },
	}
}

func prepare(t *testing.T, h *host) {
	ctx := context.Background()
	for _, document := range []string{own, wider} {
		if _, err := h.local.Apply(ctx, ApplyRequest{
			Caller: caller, Policy: compile(t, document),
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.local.Open(ctx, OpenRequest{
		Caller: caller, Port: "9090", Sources: []string{"198.51.100.7"}, For: "1h", Reason: "x",
	}); err != nil {
		t.Fatal(err)
	}
}

// unchanged checks that neither the kernel nor the history is another than before the operation.
func unchanged(t *testing.T, h *host, operation func() error, want error) {
	t.Helper()
	held := *h.kernel.Held()
	last, err := h.local.view().Last()
	if err != nil {
		t.Fatal(err)
	}
	leases, _, _ := h.local.leases().List()
	if err := operation(); !errors.Is(err, want) {
		t.Errorf("it ended with %v", err)
	}
	if now := h.kernel.Held(); now == nil || !now.Equal(held) {
		t.Error("the kernel holds something else")
	}
	if now, err := h.local.view().Last(); err != nil || now.Number != last.Number ||
		!now.InForce().Equal(held) {
		t.Errorf("the history says something else: %v", err)
	}
	if now, _, _ := h.local.leases().List(); len(now) != len(leases) {
		t.Errorf("%d leases of %d", len(now), len(leases))
	}
}

// TestFullDiskChangesNothing: what can't be recorded is not put in force, whatever asks for it, and
// works once there is room.
func TestFullDiskChangesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: a small file system can't be mounted")
	}
	for name := range writing(t, newHost(t)) {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				runtime.LockOSThread() // never unlocked: the thread ends with its mounts
				if err := errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
					unix.Mount("tmpfs", h.local.StateDir, "tmpfs", 0, "size=128k")); err != nil {
					t.Error(err)
					return
				}
				prepare(t, h)
				ballast := filepath.Join(h.local.StateDir, "ballast")
				if err := os.WriteFile(ballast, bytes.Repeat([]byte("x"), 1<<20), 0o600); !errors.Is(
					err,
					unix.ENOSPC,
				) {
					t.Errorf("the disk is not full: %v", err)
				}
				operation := writing(t, h)[name]
				unchanged(t, h, operation, unix.ENOSPC)
				if err := os.Remove(ballast); err != nil {
					t.Error(err)
				}
				if err := operation(); err != nil {
					t.Errorf("once there is room: %v", err)
				}
			}()
			<-done
		})
	}
}

// refusing is a kernel that refuses what is written.
type refusing struct{ *backendtest.Memory }

var errRefused = errors.New("the kernel won't have it")

func (refusing) Apply(context.Context, firewall.Plan) error { return errRefused }

// TestRefusedIsWithdrawn: what the kernel does not take is not in the history, and its number is
// not used again.
func TestRefusedIsWithdrawn(t *testing.T) {
	for name := range writing(t, newHost(t)) {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			prepare(t, h)
			open := h.local.Backends
			h.local.Backends = func(ctx context.Context, name string, thorough bool) (*firewall.Reconciler, error) {
				r, err := open(ctx, name, thorough)
				if err != nil {
					return nil, err
				}
				refused := *r
				refused.Backend = refusing{h.kernel}
				return &refused, nil
			}
			before, err := h.local.view().Last()
			if err != nil {
				t.Fatal(err)
			}
			unchanged(t, h, writing(t, h)[name], errRefused)
			h.local.Backends = open
			if err := writing(t, h)[name](); err != nil {
				t.Fatal(err)
			}
			if n, err := h.local.view().Newest(); err != nil || n != before.Number+2 {
				t.Errorf("the next generation is %d, %v; the last was %d", n, err, before.Number)
			}
		})
	}
}
