package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is the control socket's name in the run directory.
const Socket = "control.sock"

// readers is the group whose members may read from the control socket.
const readers = "portgrave"

// peerKey is where a connection's peer credentials stand in a request's context.
type peerKey struct{}

// serveControl answers on the control socket: HTTP with JSON. Each client has a goroutine of its own, which takes what the loop has
// laid down, so that none can delay it.
//
//	GET  /v1/status           Status
//	GET  /v1/events           {"events":[Event…]}: what happened last
//	GET  /v1/events?follow=1  an Event a line, from now on
//	POST /v1/reload           as SIGHUP; root only. 202: it is being read
//	GET  /metrics             for Prometheus
func (d *Daemon) serveControl(ctx context.Context) (func(), error) {
	path := filepath.Join(d.RunDir, Socket)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // we hold the lock, so it is a dead one's
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
		if err := errors.Join(os.Chown(path, -1, gid), os.Chmod(path, 0o660)); err != nil {
			d.Log.Warn("members of the group can't use the control socket", "group", readers, "error", err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", d.getStatus)
	mux.HandleFunc("GET /v1/events", d.getEvents)
	mux.HandleFunc("POST /v1/reload", writer(d.postReload))
	mux.Handle("GET /metrics", d.metricsHandler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 14,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, peer(c))
		}}
	go func() { _ = server.Serve(l) }()
	return func() { _ = server.Close() }, nil
}

// peer is who connected, as the kernel says (SO_PEERCRED, unix(7)); nil if it does not.
func peer(c net.Conn) *unix.Ucred {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *unix.Ucred
	_ = raw.Control(func(fd uintptr) { cred, _ = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred
}

// writer lets root, and the daemon's own user, through.
func writer(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		cred, _ := r.Context().Value(peerKey{}).(*unix.Ucred)
		if cred == nil || cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
			http.Error(w, `{"error":"only root may change anything"}`, http.StatusForbidden)
			return
		}
		h(w, r)
	}
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

func (d *Daemon) getEvents(w http.ResponseWriter, r *http.Request) {
	recent, next, stop := d.events.follow()
	defer stop()
	if r.URL.Query().Get("follow") == "" {
		if recent == nil {
			recent = []Event{}
		}
		answer(w, map[string]any{"events": recent})
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	_ = out.Flush()
	for {
		select {
		case e := <-next:
			_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if json.NewEncoder(w).Encode(e) != nil || out.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// loopPatience is how long a client waits for the loop, which may be in the middle of a large apply.
const loopPatience = 5 * time.Second

// inLoop runs f between two events. It fails rather than wait long.
func (d *Daemon) inLoop(ctx context.Context, f func()) error {
	ctx, stop := context.WithTimeout(ctx, loopPatience)
	defer stop()
	done := make(chan struct{})
	select {
	case d.requests <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-ctx.Done():
		return errors.New("the daemon is busy")
	}
}

func (d *Daemon) postReload(w http.ResponseWriter, _ *http.Request) {
	if err := unix.Kill(os.Getpid(), unix.SIGHUP); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusAccepted) // networks may take their time; status says what became of it
}
