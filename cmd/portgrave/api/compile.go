package api

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// A policy with a million sources is compiled where they are in memory already: in the daemon.
//
//	client                                   daemon
//	reads the policy's files
//	looks at network files, reads none
//	POST /v1/policy: CompileRequest ───────▶ compiles the text; reads only files new to it
//	◀───────────────── CompiledPolicy: Ref   keeps the result for KeepCompiled
//	POST /v1/apply: Policy{Ref} ───────────▶ applies it
//
// The daemon answers only if all is well and it sees the same files. Else the client compiles the
// policy itself, finds the same mistake, and reports it. So an answer carries no errors, and it
// does not matter what the daemon may not read or reach.

// CompileRequest is a policy that a client has read.
type CompileRequest struct {
	Origin string `json:"origin"`
	Text   []byte `json:"text"` // policy.Policy.Text
	// Files are the fingerprints of its network files, by their absolute paths.
	Files map[string]policy.Fingerprint `json:"files"`
	// StateDir has the last good content of networks.
	StateDir string `json:"state_dir"`
	// Backend is what the policy must suit: "nftables" or "iptables".
	Backend string `json:"backend"`
	// AcceptShrunk is policy.Networks.AcceptShrunk.
	AcceptShrunk bool `json:"accept_shrunk"`
	// OnHost asks for warnings about what the policy names and the host lacks.
	OnHost bool `json:"on_host"`
}

// CompiledPolicy is the answer to a CompileRequest.
type CompiledPolicy struct {
	// Ref is host.Policy.Ref in later requests.
	Ref string `json:"ref"`
	// InForce is the generation in force if the policy means what that is; 0 if it means something
	// else.
	InForce  int              `json:"in_force"`
	Warnings []policy.Problem `json:"warnings"`
}

// ErrUncompiled: the daemon leaves it to the client to compile a policy.
var ErrUncompiled = errors.New("the daemon can't compile this policy as its sender would")

// Compile asks the daemon to compile a policy. Whatever the error is, the caller may compile it
// itself.
func (r *Remote) Compile(ctx context.Context, q CompileRequest) (CompiledPolicy, error) {
	return ask[CompiledPolicy](ctx, r, http.MethodPost, "/v1/policy", q)
}

const (
	// KeepCompiled is how long a compiled policy waits for the request that refers to it. That
	// follows at once, or after systemd was asked for a timer.
	KeepCompiled = 15 * time.Second
	// maxCompiled is the number of policies that wait at a time.
	maxCompiled = 4
)

// compiledPolicies are those that wait. The zero value is empty. It is safe for use by several
// goroutines.
type compiledPolicies struct {
	mu     sync.Mutex
	byRef  map[string]*host.Policy
	oldest []string // the keys of byRef, the oldest first
}

// keep returns the name of a policy, by which get returns it.
func (c *compiledPolicies) keep(p *host.Policy) string {
	ref := rand.Text()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byRef == nil {
		c.byRef = map[string]*host.Policy{}
	}
	c.byRef[ref], c.oldest = p, append(c.oldest, ref)
	for len(c.oldest) > maxCompiled {
		delete(c.byRef, c.oldest[0])
		c.oldest = c.oldest[1:]
	}
	time.AfterFunc(KeepCompiled, func() { c.forget(ref) })
	return ref
}

func (c *compiledPolicies) forget(ref string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byRef, ref)
	if len(c.oldest) > 0 && c.oldest[0] == ref {
		c.oldest = c.oldest[1:]
	}
}

func (c *compiledPolicies) get(ref string) (*host.Policy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.byRef[ref]; p != nil {
		return p, nil
	}
	return nil, errors.New(
		"the daemon no longer has the policy of this request: run the command again",
	)
}

// postPolicy compiles a policy and keeps it.
func (s Server) postPolicy(w http.ResponseWriter, r *http.Request) {
	var q CompileRequest
	err := decodeRequest(w, r, &q, true)
	var p *host.Policy
	var out CompiledPolicy
	if err == nil {
		p, out, err = s.Compile(r.Context(), q)
	}
	if err != nil {
		Fail(w, err)
		return
	}
	out.Ref = s.compiled.keep(p)
	answer(w, http.StatusOK, out)
}
