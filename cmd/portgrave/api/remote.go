package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
)

// Remote asks a daemon for the operations, over its control socket.
type Remote struct {
	socket string
	client http.Client
}

var _ host.Operations = (*Remote)(nil)

// ErrNoDaemon: nobody answers on the control socket.
var ErrNoDaemon = errors.New("no daemon is running")

// Patience with the daemon: it accepts at once; what it says of itself lies ready; an operation may
// have a million sources.
const (
	connectPatience   = 3 * time.Second
	connectPause      = 10 * time.Millisecond
	operationPatience = 10 * time.Minute
)

// Socket is the control socket's name in the run directory.
const Socket = "control.sock"

// NewRemote is the daemon of a run directory, whether or not one runs.
func NewRemote(runDir string) *Remote {
	socket := filepath.Join(runDir, Socket)
	connect := func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) }
	transport := &http.Transport{DisableKeepAlives: true, DialContext: connect}
	return &Remote{socket, http.Client{Transport: transport}}
}

// dial connects to a socket. While others connect faster than the daemon accepts, the kernel says
// EAGAIN (unix(7)), which passes.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, connectPatience)
	defer stop()
	for {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if !errors.Is(err, syscall.EAGAIN) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(connectPause):
		}
	}
}

// Get asks for a path; the caller closes the body. ErrNoDaemon if none runs, os.ErrPermission if
// the socket is not for this user.
func (r *Remote) Get(ctx context.Context, path string) (io.ReadCloser, error) {
	response, err := r.send(ctx, http.MethodGet, path, nil, "")
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// send sends a request and returns an answer that is no failure.
func (r *Remote) send(
	ctx context.Context,
	method, path string,
	body []byte,
	contentType string,
) (*http.Response, error) {
	if _, err := os.Stat(r.socket); errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoDaemon // an HTTP client takes a millisecond to find that out
	}
	request, err := http.NewRequestWithContext(
		ctx,
		method,
		"http://portgrave"+path,
		bytes.NewReader(body),
	)
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	// Once connected, only the end of the daemon leaves a request without the first byte of an
	// answer. net/http has errors for that which it does not export.
	var connected, answered atomic.Bool
	request = request.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:              func(httptrace.GotConnInfo) { connected.Store(true) },
		GotFirstResponseByte: func() { answered.Store(true) },
	}))
	response, err := r.client.Do(request)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNoDaemon
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("the daemon at %s does not answer: %w", r.socket, err)
	case ctx.Err() == nil && err != nil && connected.Load() && !answered.Load(), hungUp(err):
		return nil, endedError{changes: method != http.MethodGet && !onlyAsks[path]}
	case err != nil:
		return nil, fmt.Errorf("asking the daemon at %s: %w", r.socket, err)
	case response.StatusCode/100 == 2:
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	var f Failure
	if err := json.NewDecoder(io.LimitReader(response.Body, maxRequest)).Decode(&f); err != nil ||
		f.Message == "" {
		return nil, fmt.Errorf("the daemon answers %s", response.Status)
	}
	return nil, f.err()
}

// ask is one operation.
func ask[A any](ctx context.Context, r *Remote, method, path string, q any) (a A, err error) {
	ctx, stop := context.WithTimeout(ctx, operationPatience)
	defer stop()
	body, contentType, err := encodeRequest(q)
	if err != nil {
		return a, err
	}
	response, err := r.send(ctx, method, path, body, contentType)
	if err != nil {
		return a, err
	}
	defer func() { _ = response.Body.Close() }()
	err = json.NewDecoder(response.Body).Decode(&a)
	if hungUp(err) {
		return a, endedError{changes: method != http.MethodGet && !onlyAsks[path]}
	}
	if err != nil {
		return a, fmt.Errorf("the daemon's answer can't be read: %w", err)
	}
	return a, nil
}

// onlyAsks are the paths of requests with a body that change nothing.
var onlyAsks = map[string]bool{"/v1/plan": true, "/v1/policy": true}

// hungUp reports whether the daemon has closed a connection before it was done.
func hungUp(err error) bool {
	for _, end := range []error{
		syscall.EPIPE, syscall.ECONNRESET, net.ErrClosed, io.EOF, io.ErrUnexpectedEOF,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// endedError: the daemon ended before it had answered.
type endedError struct{ changes bool }

func (e endedError) Error() string {
	if e.changes {
		return "the daemon ended before it answered: " +
			"the change may or may not have been made, portgrave status tells"
	}
	return "the daemon ended before it answered: run the command again"
}

func backendOf(q host.FirewallRequest) string { return "?backend=" + url.QueryEscape(q.Backend) }

// Firewall implements Operations.
func (r *Remote) Firewall(ctx context.Context, q host.FirewallRequest) (host.Firewall, error) {
	return ask[host.Firewall](ctx, r, http.MethodGet, "/v1/firewall"+backendOf(q), none{})
}

// Drift implements Operations.
func (r *Remote) Drift(ctx context.Context, q host.FirewallRequest) (host.Difference, error) {
	return ask[host.Difference](ctx, r, http.MethodGet, "/v1/drift"+backendOf(q), none{})
}

// Plan implements Operations.
func (r *Remote) Plan(ctx context.Context, q host.PlanRequest) (host.Difference, error) {
	return ask[host.Difference](ctx, r, http.MethodPost, "/v1/plan", q)
}

// History implements Operations.
func (r *Remote) History(ctx context.Context) (host.History, error) {
	return ask[host.History](ctx, r, http.MethodGet, "/v1/history", none{})
}

// Leases implements Operations.
func (r *Remote) Leases(ctx context.Context) (host.Leases, error) {
	return ask[host.Leases](ctx, r, http.MethodGet, "/v1/leases", none{})
}

// Apply implements Operations.
func (r *Remote) Apply(ctx context.Context, q host.ApplyRequest) (host.Applied, error) {
	return ask[host.Applied](ctx, r, http.MethodPost, "/v1/apply", q)
}

// Confirm implements Operations.
func (r *Remote) Confirm(ctx context.Context, q host.ConfirmRequest) (host.Confirmed, error) {
	return ask[host.Confirmed](ctx, r, http.MethodPost, "/v1/confirm", q)
}

// Rollback implements Operations.
func (r *Remote) Rollback(ctx context.Context, q host.RollbackRequest) (host.Applied, error) {
	return ask[host.Applied](ctx, r, http.MethodPost, "/v1/rollback", q)
}

// Teardown implements Operations.
func (r *Remote) Teardown(ctx context.Context, q host.TeardownRequest) (host.TornDown, error) {
	return ask[host.TornDown](ctx, r, http.MethodPost, "/v1/teardown", q)
}

// Open implements Operations.
func (r *Remote) Open(ctx context.Context, q host.OpenRequest) (host.Opened, error) {
	return ask[host.Opened](ctx, r, http.MethodPost, "/v1/open", q)
}

// Close implements Operations.
func (r *Remote) Close(ctx context.Context, q host.CloseRequest) (host.Closed, error) {
	return ask[host.Closed](ctx, r, http.MethodPost, "/v1/close", q)
}

// TakeBack implements Operations.
func (r *Remote) TakeBack(ctx context.Context) (host.TakenBack, error) {
	return ask[host.TakenBack](ctx, r, http.MethodPost, "/v1/takeback", none{})
}

// Reloaded is what a daemon has in force after it has read its policy again.
type Reloaded struct {
	Generation int      `json:"generation"`
	Origin     string   `json:"origin"`
	Stale      []string `json:"stale_networks"`
}

// Reload has the daemon read its policy again, and waits for what comes of it. The error is the
// policy's, if that can't be used: then the rules in force stay.
func (r *Remote) Reload(ctx context.Context) (Reloaded, error) {
	return ask[Reloaded](ctx, r, http.MethodPost, "/v1/reload?wait=1", none{})
}
