package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// serveControl answers on the control socket: HTTP with JSON. Each client has a goroutine of its
// own. What the daemon says of itself lies ready; what touches the kernel is done in the loop,
// between two events, so that no client can delay a repair.
//
//	GET  /v1/status           Status
//	GET  /v1/events           {"events":[Event…]}: what happened last
//	GET  /v1/events?follow=1  an Event a line, from now on;
//	                          &kind=exposure: those alone, and looked for every few seconds
//	GET  /v1/denied           {"events":[denied.Event…]}: who was refused last;
//	                          ?follow=1: an event a line, from now on
//	GET  /v1/audit            what the host exposes now
//	POST /v1/reload           as SIGHUP; root only. 202: it is being read;
//	                          ?wait=1: api.Reloaded, when it is in force
//	GET  /metrics             for Prometheus
//
// and the operations of package api. The function it returns ends it, after the answers under
// way.
func (d *Daemon) serveControl(ctx context.Context) (func(), error) {
	l, err := api.Listen(d.RunDir, d.Log)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", d.getStatus)
	mux.HandleFunc("GET /v1/events", d.getEvents)
	mux.HandleFunc("GET /v1/denied", d.getDenied)
	mux.HandleFunc("GET /v1/audit", d.getAudit)
	mux.Handle("GET /metrics", d.metrics)
	operations := api.Server{
		Local:    d.Local,
		Policy:   d.ownPolicy,
		Compile:  d.compileFor,
		MayWrite: api.MayWrite,
		Effect:   d.Effect,
		Run: func(ctx context.Context, f func(context.Context)) error {
			return d.inLoop(
				ctx,
				operationPatience,
				func(ctx context.Context) { f(ctx); d.operated(ctx) },
			)
		},
	}
	operations.Handle(mux)
	mux.HandleFunc("POST /v1/reload", operations.Write(d.postReload))
	server := &http.Server{Handler: api.Paths(mux, "/v1/status"), ReadTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	api.Serve(server, d.spare.guard(l))
	return func() {
		ending, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		_ = server.Shutdown(ending)
		_ = server.Close()
	}, nil
}

// ownPolicy reads the daemon's policy for a request that brings none. It runs beside the loop:
// networks may be slow.
func (d *Daemon) ownPolicy(ctx context.Context) (*host.Policy, error) {
	p, c, err := d.Read(ctx, ReadOptions{Patience: policy.WriterPatience})
	if err != nil {
		return nil, err
	}
	return api.PolicyOf(p, c, time.Now())
}

func answer(w http.ResponseWriter, x any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(api.WithLists(x))
}

func (d *Daemon) getStatus(w http.ResponseWriter, _ *http.Request) {
	s := d.status.get()
	s.Events = d.events.counts()
	answer(w, s)
}

// listEvents writes one event after the other: together they can be megabytes, which many readers
// would hold many times.
func (d *Daemon) listEvents(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, err := io.WriteString(w, `{"events":[`)
	for i, e := range d.events.last() {
		var line []byte
		if err == nil {
			line, err = json.Marshal(api.WithLists(e))
		}
		if i > 0 {
			line = append([]byte(","), line...)
		}
		if err == nil {
			_, err = w.Write(line)
		}
	}
	if err == nil {
		_, _ = io.WriteString(w, "]}\n")
	}
}

func (d *Daemon) getEvents(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("follow") == "" {
		d.listEvents(w)
		return
	}
	next, stop, ok := d.events.follow(api.StandingOf(r))
	if !ok {
		api.Crowded(w)
		return
	}
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	_ = out.Flush()
	kind := r.URL.Query().Get("kind")
	if kind == "exposure" {
		defer d.exposed.watch()()
	}
	for {
		select {
		case e := <-next:
			if kind != "" && e.Kind != kind {
				continue
			}
			_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if json.NewEncoder(w).Encode(api.WithLists(e)) != nil || out.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// How long a client waits for the loop, which may be in the middle of a large apply: a scrape, and
// somebody who wants something.
const (
	loopPatience      = 5 * time.Second
	operationPatience = 30 * time.Second
)

// inLoop has the loop run f between two events, to its end. It fails rather than wait long for its
// turn.
func (d *Daemon) inLoop(
	ctx context.Context,
	patience time.Duration,
	f func(context.Context),
) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	done := make(chan struct{})
	select {
	case d.requests <- func(ctx context.Context) { defer close(done); f(ctx) }:
		<-done
		return nil
	case <-ctx.Done():
		return api.ErrBusy
	}
}

// Ask is what a daemon says of itself.
func Ask(ctx context.Context, r *api.Remote) (*Status, error) {
	body, err := r.Get(ctx, "/v1/status")
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	var s Status
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		return nil, fmt.Errorf("reading what the daemon says of itself: %w", err)
	}
	return &s, nil
}

// postReload reads the policy again. Networks may take their time: without ?wait the answer comes
// at once, and status says what became of it.
func (d *Daemon) postReload(w http.ResponseWriter, r *http.Request) {
	outcome := make(chan error, 1)
	turn := time.NewTimer(operationPatience)
	defer turn.Stop()
	select {
	case d.reloads <- outcome:
	case <-turn.C:
		api.Fail(w, api.ErrBusy)
		return
	case <-r.Context().Done():
		return
	}
	if r.URL.Query().Get("wait") == "" {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	select {
	case err := <-outcome:
		if err != nil {
			api.Fail(w, err)
			return
		}
		s := d.status.get()
		answer(
			w,
			api.Reloaded{Generation: s.Generation, Origin: s.Policy.Origin, Stale: s.Policy.Stale},
		)
	case <-r.Context().Done():
	}
}
