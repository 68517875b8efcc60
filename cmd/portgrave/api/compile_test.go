package api

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// TestCompiledThere checks that a policy that the server has compiled is planned and applied by its
// reference, and only by those who may change anything.
func TestCompiledThere(t *testing.T) {
	h := newMachine(t)
	warned := []policy.Problem{{File: "policy.yaml", Line: 1, Column: 1, Message: "look"}}
	h.compile = func(
		_ context.Context, q CompileRequest,
	) (*host.Policy, CompiledPolicy, error) {
		if string(q.Text) != wider || q.Files["list"].Inode != 7 {
			return nil, CompiledPolicy{}, ErrUncompiled
		}
		return compile(t, wider), CompiledPolicy{InForce: 3, Warnings: warned}, nil
	}
	h.overSocket()
	remote := h.ops.(*Remote)
	q := CompileRequest{
		Text:  []byte(wider),
		Files: map[string]policy.Fingerprint{"list": {Inode: 7}},
	}
	got, err := remote.Compile(t.Context(), q)
	if err != nil || got.Ref == "" || got.InForce != 3 || len(got.Warnings) != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	there := &host.Policy{Ref: got.Ref}
	for range 2 {
		d, err := remote.Plan(t.Context(), host.PlanRequest{Policy: there})
		if err != nil || d.InSync {
			t.Errorf("plan: %+v, %v", d, err)
		}
	}
	applied, err := remote.Apply(t.Context(), host.ApplyRequest{Policy: there})
	if err != nil || !applied.Changed {
		t.Errorf("apply: %+v, %v", applied, err)
	}
	from := applied.Generation
	d, err := remote.Plan(t.Context(), host.PlanRequest{From: &from, Policy: there})
	if err != nil || !d.InSync {
		t.Errorf("plan from the generation: %+v, %v", d, err)
	}

	unknown := &host.Policy{Ref: "nothing"}
	if _, err := remote.Apply(t.Context(), host.ApplyRequest{Policy: unknown}); err == nil ||
		!strings.Contains(err.Error(), "run the command again") {
		t.Errorf("a reference to nothing: %v", err)
	}
	if _, err := remote.Compile(t.Context(), CompileRequest{}); !errors.Is(err, ErrUncompiled) {
		t.Errorf("what is left to the client: %v", err)
	}
	h.root = false
	if _, err := remote.Compile(t.Context(), q); err == nil {
		t.Error("a reader had a policy compiled")
	}
	if _, err := remote.Plan(t.Context(), host.PlanRequest{Policy: there}); err == nil {
		t.Error("a reader has used a reference")
	}
}

// TestServerThatCompilesNothing checks that an older server is told apart by an error.
func TestServerThatCompilesNothing(t *testing.T) {
	remote := newMachine(t).overSocket().ops.(*Remote)
	if _, err := remote.Compile(t.Context(), CompileRequest{}); err == nil {
		t.Error("no error")
	}
}

// TestCompiledPoliciesAreFew checks that those that nobody asks for make room.
func TestCompiledPoliciesAreFew(t *testing.T) {
	var c compiledPolicies
	var refs []string
	for range maxCompiled + 1 {
		refs = append(refs, c.keep(&host.Policy{}))
	}
	if _, err := c.get(refs[0]); err == nil {
		t.Error("the oldest one is still there")
	}
	for _, ref := range refs[1:] {
		if _, err := c.get(ref); err != nil {
			t.Error(err)
		}
		c.forget(ref)
	}
	if len(c.byRef)+len(c.oldest) != 0 {
		t.Errorf("%d are left", len(c.byRef))
	}
}
