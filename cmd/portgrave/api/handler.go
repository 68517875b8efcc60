package api

import (
	"context"
	"net/http"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
)

// Server is what Handler needs of a daemon.
type Server struct {
	Local *host.Local
	// Run executes f when nothing else touches the kernel, to its end, and returns when it is done;
	// ErrBusy if it can't soon.
	Run func(ctx context.Context, f func(ctx context.Context)) error
	// Policy reads the daemon's own policy, for requests that bring none.
	Policy func(ctx context.Context) (*host.Policy, error)
	// Compile compiles a policy for a client, and says of it what CompiledPolicy has, but Ref. The
	// error is ErrUncompiled if the client had better do that. nil leaves it to clients.
	Compile func(ctx context.Context, q CompileRequest) (*host.Policy, CompiledPolicy, error)
	// Effect adds to a plan who gains and who loses access, beside what touches the kernel; nil:
	// nobody computes it. One is computed at a time, and one more for those who may write.
	Effect func(ctx context.Context, d *host.Difference)
	// MayWrite tells whether a request comes from somebody who may change anything, and its user's
	// name.
	MayWrite func(*http.Request) (user string, ok bool)

	compiled *compiledPolicies
	// Who computes an effect holds a place here: root one of its own, so that it waits for no reader.
	effects, readersEffects chan struct{}
}

// Bounds on what one request may take.
const (
	// maxRequest is a policy with some million sources.
	maxRequest = 256 << 20
	// maxReaderRequest is for those who may not write: a policy with some thousand sources.
	maxReaderRequest = 64 << 10
	// maxReaderSources is how many sources and addresses the services of such a policy may have
	// together: those that share a set could have as many as they like in few bytes.
	maxReaderSources = maxReaderRequest
)

// Readers take turns: what one asks for may take as much memory as the largest list, and as much
// time.
const (
	maxReading      = 2
	readingPatience = 30 * time.Second
)

// Handle adds the operations to a mux.
//
//	GET  /v1/firewall      Firewall         POST /v1/apply     ApplyRequest    → Applied
//	GET  /v1/drift         Difference       POST /v1/confirm   ConfirmRequest  → Confirmed
//	POST /v1/plan          Difference       POST /v1/rollback  RollbackRequest → Applied
//	GET  /v1/history       History          POST /v1/teardown  TeardownRequest → TornDown
//	GET  /v1/leases        Leases           POST /v1/open      OpenRequest     → Opened
//	                                        POST /v1/close     CloseRequest    → Closed
//	                                        POST /v1/takeback                  → TakenBack
//	                                        POST /v1/policy    CompileRequest  → CompiledPolicy
//
// A request is a JSON object, or one with its State behind it (see wire.go). The left column is for
// readers, the right one for those who may write. An error is a Failure. ?backend= says in which
// backend the first two look.
func (s Server) Handle(mux *http.ServeMux) {
	l, turns := s.Local, make(chan struct{}, maxReading)
	s.compiled = &compiledPolicies{}
	s.effects, s.readersEffects = make(chan struct{}, 1), make(chan struct{}, 1)
	read := func(h http.HandlerFunc) http.HandlerFunc { return s.inTurn(turns, h) }
	mux.HandleFunc("GET /v1/firewall", read(handle(s, l.Firewall)))
	mux.HandleFunc("GET /v1/drift", read(handle(s, l.Drift)))
	mux.HandleFunc("POST /v1/plan", read(handle(s, l.Plan)))
	mux.HandleFunc("GET /v1/history", read(handle(s, noRequest(l.History))))
	mux.HandleFunc("GET /v1/leases", read(handle(s, noRequest(l.Leases))))
	mux.HandleFunc("POST /v1/apply", s.Write(handle(s, l.Apply)))
	mux.HandleFunc("POST /v1/confirm", s.Write(handle(s, l.Confirm)))
	mux.HandleFunc("POST /v1/rollback", s.Write(handle(s, l.Rollback)))
	mux.HandleFunc("POST /v1/teardown", s.Write(handle(s, l.Teardown)))
	mux.HandleFunc("POST /v1/open", s.Write(handle(s, l.Open)))
	mux.HandleFunc("POST /v1/close", s.Write(handle(s, l.Close)))
	if s.Compile != nil {
		mux.HandleFunc("POST /v1/policy", s.Write(s.postPolicy))
	}
	mux.HandleFunc("POST /v1/takeback", s.Write(handle(s, noRequest(l.TakeBack))))
}

// none is a request that says nothing.
type none struct{}

func noRequest[A any](f func(context.Context) (A, error)) func(context.Context, none) (A, error) {
	return func(ctx context.Context, _ none) (A, error) { return f(ctx) }
}

// Write lets those through who may write.
func (s Server) Write(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, ok := s.MayWrite(r)
		if !ok {
			answer(
				w,
				http.StatusForbidden,
				Failure{Message: "only root may change anything", Kind: "permission"},
			)
			return
		}
		h(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
	}
}

// inTurn lets maxReading readers ask at a time, to the end of their answers. Writers don't
// wait for readers.
func (s Server) inTurn(turns chan struct{}, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, ok := s.MayWrite(r); ok {
			h(w, r)
			return
		}
		patience := time.NewTimer(readingPatience)
		defer patience.Stop()
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
			h(w, r)
		case <-patience.C:
			Fail(w, ErrBusy)
		case <-r.Context().Done():
		}
	}
}

// userKey is where a writing request's user stands in its context.
type userKey struct{}

// handle turns an operation into a handler: decode, complete, run, encode.
func handle[Q, A any](s Server, operation func(context.Context, Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		_, writer := s.MayWrite(r)
		err := decodeRequest(w, r, &q, writer)
		if f, ok := any(&q).(*host.FirewallRequest); ok && f.Backend == "" {
			f.Backend = r.URL.Query().Get("backend")
		}
		if err == nil {
			err = s.complete(r.Context(), &q)
		}
		var a A
		if err == nil {
			run := func(ctx context.Context) { a, err = operation(ctx, q) }
			if rerr := s.Run(r.Context(), run); rerr != nil {
				err = rerr
			}
		}
		if d, ok := any(&a).(*host.Difference); ok && err == nil {
			s.addEffect(r.Context(), d, writer)
		}
		if err != nil {
			Fail(w, err)
			return
		}
		answer(w, http.StatusOK, a)
	}
}

// addEffect adds the effect to a plan, if it was asked for.
func (s Server) addEffect(ctx context.Context, d *host.Difference, writer bool) {
	if d.Wanted == nil {
		return
	}
	if s.Effect == nil {
		d.Wanted, d.EffectUnknown = nil, "this daemon does not audit"
		return
	}
	turns := s.readersEffects
	if writer {
		turns = s.effects
	}
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
		s.Effect(ctx, d)
	case <-ctx.Done():
		d.Wanted = nil
	}
}

// complete adds to a request what its sender left to the daemon.
func (s Server) complete(ctx context.Context, q any) error {
	wanted := policyOf(q)
	if x, ok := q.(*host.PlanRequest); ok && x.From != nil && x.To != nil {
		wanted = nil // it compares generations
	}
	if c, ok := q.(interface{ Who() *host.Caller }); ok && c.Who().User == "" {
		c.Who().User, _ = ctx.Value(userKey{}).(string)
	}
	if wanted == nil {
		return nil
	}
	if p := *wanted; p != nil && p.Ref != "" {
		kept, err := s.compiled.get(p.Ref)
		*wanted = kept
		return err
	} else if p != nil {
		canonical, err := p.State.Canonical() // the client may have written it by hand
		if err != nil {
			return host.Usagef("the policy of the request: %w", err)
		}
		p.State = canonical
		return nil
	}
	p, err := s.Policy(ctx)
	*wanted = p
	return err
}
