package host

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// What is recorded is printed to terminals and logs: no operation takes a text that plays with
// them.
func TestRemarks(t *testing.T) {
	h := newHost(t)
	prepare(t, h)
	ctx := context.Background()
	policy := compile(t, own)
	for name, operation := range map[string]func(Caller, string) error{
		"apply": func(c Caller, reason string) error {
			_, err := h.ops.Apply(ctx, ApplyRequest{Caller: c, Reason: reason, Policy: policy})
			return err
		},
		"apply on trial": func(c Caller, reason string) error {
			_, err := h.ops.Apply(
				ctx,
				ApplyRequest{Caller: c, Reason: reason, Policy: policy, Confirm: "60s"},
			)
			return err
		},
		"rollback": func(c Caller, reason string) error {
			_, err := h.ops.Rollback(ctx, RollbackRequest{Caller: c, Reason: reason})
			return err
		},
		"open": func(c Caller, reason string) error {
			_, err := h.ops.Open(ctx, OpenRequest{
				Caller: c, Reason: reason, Port: "9090", Sources: []string{"198.51.100.9"}, For: "1h",
			})
			return err
		},
		"close": func(c Caller, reason string) error {
			_, err := h.ops.Close(ctx, CloseRequest{Caller: c, Reason: reason, Lease: "9090"})
			return err
		},
		"confirm": func(c Caller, _ string) error {
			_, err := h.ops.Confirm(ctx, ConfirmRequest{Caller: c})
			return err
		},
		"teardown": func(c Caller, _ string) error {
			_, err := h.ops.Teardown(ctx, TeardownRequest{Caller: c})
			return err
		},
	} {
		for _, hostile := range []string{"two\nlines", "\x1b[31mred", "\u202e", "\xff"} {
			refused := map[string]error{
				"user": operation(Caller{User: hostile}, ""),
				"from": operation(Caller{User: "ana", From: hostile}, ""),
			}
			if name != "confirm" && name != "teardown" {
				refused["reason"] = operation(Caller{User: "ana"}, hostile)
			}
			for part, err := range refused {
				var usage UsageError
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), part+": ") ||
					strings.Contains(err.Error(), hostile) {
					t.Errorf("%s with the %s %q: %v", name, part, hostile, err)
				}
			}
		}
	}
	if err := CheckReason(strings.Repeat("x", maxReason+1)); err == nil {
		t.Error("a reason of any length is taken")
	}
}
