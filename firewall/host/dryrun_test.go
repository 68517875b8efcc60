package host

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// tree is every file below a folder, with its content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		files[path] = d.Type().String()
		if d.Type().IsRegular() {
			text, err := fs.ReadFile(root, path)
			files[path] = string(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A dry run says what the operation then does, and writes neither the kernel nor a file.
func TestDryRun(t *testing.T) {
	h := newHost(t)
	ctx := context.Background()
	dry := func(what string, f func() (changed bool, err error)) {
		t.Helper()
		held, files := h.kernel.Held(), tree(t, h.local.StateDir)
		changed, err := f()
		if err != nil || !changed {
			t.Errorf("%s: %v, %v", what, changed, err)
		}
		now := h.kernel.Held()
		if (held == nil) != (now == nil) || held != nil && !held.Equal(*now) {
			t.Errorf("%s changes the kernel", what)
		}
		after := tree(t, h.local.StateDir)
		for path := range after {
			if files[path] != after[path] {
				t.Errorf("%s writes %s", what, path)
			}
		}
		if len(files) != len(after) {
			t.Errorf("%s: %d files, then %d", what, len(files), len(after))
		}
	}
	apply := ApplyRequest{Policy: compile(t, own), DryRun: true}
	dry("apply", func() (bool, error) {
		a, err := h.ops.Apply(ctx, apply)
		return a.Changed && a.DryRun && a.Generation == 0 && len(a.Services) == 1, err
	})
	apply.Confirm = "1m"
	dry("apply --confirm", func() (bool, error) {
		a, err := h.ops.Apply(ctx, apply)
		return a.Changed && h.guards == 0, err
	})
	apply.DryRun, apply.Confirm = false, ""
	if _, err := h.ops.Apply(ctx, apply); err != nil {
		t.Fatal(err)
	}
	open := OpenRequest{Port: "9090", Sources: []string{"203.0.113.7"}, For: "2h", DryRun: true}
	dry("open", func() (bool, error) {
		o, err := h.ops.Open(ctx, open)
		return o.Changed && o.DryRun && o.Lease.ID == "", err
	})
	open.DryRun = false
	if _, err := h.ops.Open(ctx, open); err != nil {
		t.Fatal(err)
	}
	dry("close", func() (bool, error) {
		c, err := h.ops.Close(ctx, CloseRequest{Lease: "9090", DryRun: true})
		return len(c.Closed) == 1 && c.DryRun, err
	})
	trial := ApplyRequest{Policy: compile(t, wider), Confirm: "1h"}
	if _, err := h.ops.Apply(ctx, trial); err != nil {
		t.Fatal(err)
	}
	dry("confirm", func() (bool, error) {
		c, err := h.ops.Confirm(ctx, ConfirmRequest{DryRun: true})
		return c.Changed && c.DryRun, err
	})
	if _, err := h.ops.Confirm(ctx, ConfirmRequest{}); err != nil {
		t.Fatal(err)
	}
	dry("rollback", func() (bool, error) {
		a, err := h.ops.Rollback(ctx, RollbackRequest{DryRun: true})
		return a.Changed && a.DryRun && len(a.Services) > 0, err
	})
	dry("teardown", func() (bool, error) {
		x, err := h.ops.Teardown(ctx, TeardownRequest{DryRun: true})
		return x.Changed && x.DryRun, err
	})
}

// What the operation would refuse, its dry run refuses.
func TestDryRunRefuses(t *testing.T) {
	h := newHost(t)
	ctx := context.Background()
	q := OpenRequest{Port: "9090", Sources: []string{"203.0.113.7"}, For: "2h", DryRun: true}
	if _, err := h.ops.Open(ctx, q); err == nil ||
		!strings.Contains(err.Error(), "run portgrave apply first") {
		t.Error(err)
	}
	failed := compile(t, own)
	failed.FailedTests = append(failed.FailedTests, []byte("{}"))
	if _, err := h.ops.Apply(ctx, ApplyRequest{Policy: failed, DryRun: true}); err == nil {
		t.Error("a policy that fails its tests")
	}
}

// foreign is a kernel in which another program wrote what bears our name.
type foreign struct{ *backendtest.Memory }

type foreignView struct{ firewall.Observation }

func (foreignView) Foreign() string { return "table inet portgrave" }

func (f foreign) Observe(ctx context.Context) (firewall.Observation, error) {
	seen, err := f.Memory.Observe(ctx)
	return foreignView{seen}, err
}

func (f foreign) Diff(
	want *firewall.State, seen firewall.Observation, now time.Time,
) (firewall.Plan, error) {
	return f.Memory.Diff(want, seen.(foreignView).Observation, now)
}

// What another program wrote is replaced neither by open and close nor by their dry runs.
func TestDryRunSparesForeignRules(t *testing.T) {
	h := newHost(t)
	ctx := context.Background()
	h.apply(ApplyRequest{}, own)
	open := OpenRequest{Port: "9090", Sources: []string{"203.0.113.7"}, For: "2h"}
	if _, err := h.ops.Open(ctx, open); err != nil {
		t.Fatal(err)
	}
	h.local.Backends = func(context.Context, string, bool) (*firewall.Reconciler, error) {
		return &firewall.Reconciler{Backend: foreign{h.kernel}, Now: h.local.Now,
			Log: slog.New(slog.DiscardHandler)}, nil
	}
	open.Sources = []string{"203.0.113.8"}
	for _, dry := range []bool{true, false} {
		open.DryRun = dry
		if _, err := h.ops.Open(ctx, open); !errors.Is(err, firewall.ErrForeign) {
			t.Errorf("open, dry run %v: %v", dry, err)
		}
		q := CloseRequest{Lease: "9090", DryRun: dry}
		if _, err := h.ops.Close(ctx, q); !errors.Is(err, firewall.ErrForeign) {
			t.Errorf("close, dry run %v: %v", dry, err)
		}
	}
}
