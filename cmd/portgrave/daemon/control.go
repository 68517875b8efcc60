package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
	"golang.org/x/sys/unix"
)

// readers is the group whose members may read from the control socket.
const readers = "portgrave"

// serveControl answers on the control socket: HTTP with JSON. Each client has a goroutine of its
// own. What the daemon says of itself lies ready; what touches the kernel is done in the loop,
// between two events, so that no client can delay a repair.
//
//	GET  /v1/status           Status
//	GET  /v1/events           {"events":[Event…]}: what happened last
//	GET  /v1/events?follow=1  an Event a line, from now on; &kind=exposure: those alone, and looked for every few seconds
//	GET  /v1/audit            what the host exposes now
//	POST /v1/reload           as SIGHUP; root only. 202: it is being read; ?wait=1: api.Reloaded, when it is in force
//	GET  /metrics             for Prometheus
//
// and the operations of package api. The function it returns ends it, after the answers under
// way.
func (d *Daemon) serveControl(ctx context.Context) (func(), error) {
	path := filepath.Join(d.RunDir, api.Socket)
	if err := os.Remove(path); err != nil &&
		!errors.Is(err, os.ErrNotExist) { // we hold the lock, so it is a dead one's
		return nil, fmt.Errorf("control socket: %w", err)
	}
	old := unix.Umask(0o177) // nobody else may connect before the permissions are as they shall be
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if g, err := user.LookupGroup(readers); err == nil {
		gid, _ := strconv.Atoi(g.Gid)
		if err := admit(path, gid); err != nil {
			d.Log.Warn("members of the group can't use the control socket", "group", readers, "error", err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", d.getStatus)
	mux.HandleFunc("GET /v1/events", d.getEvents)
	mux.HandleFunc("GET /v1/audit", d.getAudit)
	mux.Handle("GET /metrics", d.metrics)
	operations := api.Server{
		Local:    d.Local,
		Policy:   d.ownPolicy,
		MayWrite: mayWrite,
		Run: func(ctx context.Context, f func(context.Context)) error {
			return d.inLoop(ctx, operationPatience, func(ctx context.Context) { f(ctx); d.operated(ctx) })
		},
	}
	operations.Handle(mux)
	mux.HandleFunc("POST /v1/reload", operations.Write(d.postReload))
	server := &http.Server{Handler: receive(mux), ConnContext: withGuest, MaxHeaderBytes: 1 << 14,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { _ = server.Serve(&door{Listener: d.spare.guard(l)}) }()
	return func() {
		ending, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		_ = server.Shutdown(ending)
		_ = server.Close()
	}, nil
}

// admit lets a group use the socket at a path. The folder may belong to a user who puts a link
// there meanwhile, so what is changed is what was opened.
func admit(path string, gid int) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s is not a socket any more", path)
	}
	if gid != os.Getegid() {
		err = unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH)
	} // else it is the group's already, and a filter of system calls may refuse to say so again
	// chmod(2) of what a descriptor leads to, which fchmod(2) refuses with O_PATH.
	return errors.Join(err, os.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), 0o660))
}

// mayWrite lets root, and the daemon's own user, change things.
func mayWrite(r *http.Request) (name string, ok bool) {
	cred := guestOf(r).peer
	if !trusted(cred) {
		return "", false
	}
	name = strconv.Itoa(int(cred.Uid))
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return name, true
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
	_ = json.NewEncoder(w).Encode(x)
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
			line, err = json.Marshal(e)
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
	next, stop, ok := d.events.follow(guestOf(r).standing)
	if !ok {
		crowded(w)
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
			if json.NewEncoder(w).Encode(e) != nil || out.Flush() != nil {
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
