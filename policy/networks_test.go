package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// world is a Networks with a clock and servers that the test controls.
type world struct {
	*Networks
	t    *testing.T
	time time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, time: testClock()}
	w.Networks = &Networks{
		Dir: filepath.Join(t.TempDir(), "networks"),
		Now: func() time.Time { return w.time },
		// The files are young, so their content is compared.
		Memory: &Memory{},
	}
	w.Warn = func(err error) { t.Errorf("unexpected warning: %v", err) }
	return w
}

// server starts an HTTPS server for the network cloud.
func (w *world) server(handler http.HandlerFunc) *httptest.Server {
	s := httptest.NewTLSServer(handler)
	s.Config.ErrorLog = nil
	w.t.Cleanup(s.Close)
	w.HTTP = s.Client()
	return s
}

// compile compiles a policy with one service, web, that allows only the network n.
func (w *world) compile(network string) (*Compiled, error) {
	w.t.Helper()
	p, err := Parse(
		"policy.yaml",
		[]byte(
			"version: 1\nnetworks:\n  n: "+network+"\nservices:\n  - {name: web, port: 443, allow: [n]}\n",
		),
	)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Compile(w.t.Context(), w.Networks)
}

// allowed compiles without stale networks, and returns the sources of web.
func (w *world) allowed(network string) string {
	w.t.Helper()
	c, err := w.compile(network)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(c.Stale) > 0 {
		w.t.Fatalf("stale: %+v", c.Stale)
	}
	return strings.Join(c.State.Services[0].Sources.Strings(), " ")
}

// stale compiles with last good content, and returns it and the reason.
func (w *world) stale(network string) (content, reason string) {
	w.t.Helper()
	c, err := w.compile(network)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(c.Stale) != 1 || c.Stale[0].Name != "n" {
		w.t.Fatalf("stale: %+v", c.Stale)
	}
	return strings.Join(c.State.Services[0].Sources.Strings(), " "), c.Stale[0].Reason
}

// refused expects the compilation to fail, and returns why.
func (w *world) refused(network string) string {
	w.t.Helper()
	c, err := w.compile(network)
	var problems Problems
	if c != nil || !errors.As(err, &problems) {
		w.t.Fatalf("compiled %+v, error %v", c, err)
	}
	return err.Error()
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s is\n\t%s\nnot\n\t%s", what, got, want)
	}
}

func expectPart(t *testing.T, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%q does not say %q", got, want)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestURLIsAskedOnlyWhenDue(t *testing.T) {
	w := newWorld(t)
	var full, unchanged atomic.Int32
	s := w.server(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("ETag", `"one"`)
		if r.Header.Get("If-None-Match") == `"one"` {
			unchanged.Add(1)
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		full.Add(1)
		fmt.Fprint(rw, "# list\r\n192.0.2.0/25\r\n192.0.2.128/25\r\n2001:db8::/32\r\n")
	})
	n := fmt.Sprintf(`{url: "%s/ips.txt", refresh: 1h}`, s.URL)
	for range 3 {
		expect(t, "content", w.allowed(n), "192.0.2.0/24 2001:db8::/32")
	}
	if full.Load() != 1 || unchanged.Load() != 0 {
		t.Errorf("asked %d+%d times within the refresh interval", full.Load(), unchanged.Load())
	}
	w.time = w.time.Add(61 * time.Minute)
	expect(t, "content", w.allowed(n), "192.0.2.0/24 2001:db8::/32")
	expect(t, "content", w.allowed(n), "192.0.2.0/24 2001:db8::/32")
	if full.Load() != 1 || unchanged.Load() != 1 {
		t.Errorf(
			"downloaded %d times, asked for changes %d times; the second should be the only new one",
			full.Load(),
			unchanged.Load(),
		)
	}
	w.time = w.time.Add(-24 * time.Hour) // a clock set back must not make content fresh forever
	expect(t, "content", w.allowed(n), "192.0.2.0/24 2001:db8::/32")
	if unchanged.Load() != 2 {
		t.Error("content from the future was taken for fresh")
	}
}

func TestURLLastModified(t *testing.T) {
	w := newWorld(t)
	const when = "Mon, 23 Nov 2026 10:00:00 GMT"
	var unchanged atomic.Int32
	s := w.server(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Last-Modified", when)
		if r.Header.Get("If-Modified-Since") == when {
			unchanged.Add(1)
			rw.WriteHeader(http.StatusNotModified)
			return
		}
		fmt.Fprintln(rw, "192.0.2.1")
	})
	n := fmt.Sprintf(`{url: "%s", refresh: 1h}`, s.URL)
	w.allowed(n)
	w.time = w.time.Add(2 * time.Hour)
	expect(t, "content", w.allowed(n), "192.0.2.1/32")
	if unchanged.Load() != 1 {
		t.Error("the server was not asked for changes only")
	}
}

// TestURLFails checks that every failure keeps the last good content in force and is reported.
// Without such content, nothing compiles.
func TestURLFails(t *testing.T) {
	plain := httptest.NewServer(
		http.HandlerFunc(
			func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "203.0.113.1") },
		),
	)
	t.Cleanup(plain.Close)
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		reason  string
	}{
		"500":      {func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "no", 500) }, "answered 500 Internal Server Error"},
		"404":      {func(rw http.ResponseWriter, _ *http.Request) { http.Error(rw, "no", 404) }, "answered 404 Not Found"},
		"204":      {func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(204) }, "answered 204 No Content"},
		"304":      {func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(304) }, "answered 304 Not Modified"},
		"empty":    {func(http.ResponseWriter, *http.Request) {}, "the content is empty"},
		"comments": {func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "# nothing") }, "the content is empty"},
		"html": {func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "<!DOCTYPE html>\n<p>log in</p>\n") },
			`:1:1: this is an HTML page, not a list: name the file that the page links to`},
		"binary": {func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write([]byte{0, 1, 0xff, '\n'}) },
			":1:1: this is not text"},
		"any": {func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "192.0.2.1\n0.0.0.0/0\n") },
			"the content has 0.0.0.0/0, which is everyone"},
		"any in halves": {func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "::/1\n8000::/1\n") },
			"the content has ::/0, which is everyone"},
		"truncated": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "1000")
			fmt.Fprint(rw, "192.0.2.1\n192.0.2.2\n192.0")
		}, "the download broke off: unexpected EOF"},
		"huge": {func(rw http.ResponseWriter, _ *http.Request) {
			line := []byte(strings.Repeat("# nothing\n", 1<<13))
			for range maxListBytes/len(line) + 2 {
				if _, err := rw.Write(line); err != nil {
					return
				}
			}
		}, "sent more than 64 MiB"},
		"too many": {func(rw http.ResponseWriter, _ *http.Request) {
			for i := range 11 {
				fmt.Fprintf(rw, "192.0.2.%d\n", i)
			}
		}, ":11:1: more than 10 entries; raise max if that is right"},
		"redirect to http": {func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, plain.URL, http.StatusFound) },
			"which is not https"},
		"redirects for ever": {func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/again", http.StatusFound) },
			"redirects more than 5 times"},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}, "deadline exceeded"},
		"hangs in the middle": {func(rw http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(rw, "192.0.2.1")
			rw.(http.Flusher).Flush()
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}, "the download broke off"},
		"closes": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var broken atomic.Bool
			s := w.server(func(rw http.ResponseWriter, r *http.Request) {
				if broken.Load() {
					c.handler(rw, r)
					return
				}
				fmt.Fprintln(rw, "198.51.100.0/24")
			})
			if strings.HasPrefix(name, "hangs") {
				w.HTTP.Timeout = 2 * time.Second
			}
			n := fmt.Sprintf(`{url: "%s", refresh: 1h, max: 10}`, s.URL)
			broken.Store(true)
			reason := w.refused(n)
			expectPart(t, reason, c.reason)
			expectPart(t, reason, `policy.yaml:3:12: network "n": `)
			broken.Store(false)
			expect(t, "content", w.allowed(n), "198.51.100.0/24")
			broken.Store(true)
			w.time = w.time.Add(2 * time.Hour)
			content, reason := w.stale(n)
			expect(t, "last good content", content, "198.51.100.0/24")
			if name != "304" { // with last good content, a 304 without an ETag is an error too
				expectPart(t, reason, c.reason)
			}
		})
	}
}

func TestURLPin(t *testing.T) {
	w := newWorld(t)
	body := "192.0.2.1\n"
	s := w.server(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, body) })
	sum := sha256.Sum256([]byte(body))
	pinned := fmt.Sprintf(
		`{url: "%s", refresh: 1h, sha256: "%s"}`,
		s.URL,
		strings.ToUpper(hex.EncodeToString(sum[:])),
	)
	expect(t, "content", w.allowed(pinned), "192.0.2.1/32")

	body = "203.0.113.1\n"
	w.time = w.time.Add(2 * time.Hour)
	content, reason := w.stale(pinned)
	expect(t, "content", content, "192.0.2.1/32")
	expectPart(t, reason, "sent content with SHA-256")

	// Content from before the pin is not accepted.
	other := fmt.Sprintf(`{url: "%s", refresh: 1h, sha256: "%s"}`, s.URL, strings.Repeat("0", 64))
	expectPart(t, w.refused(other), "the policy wants 000")
}

func TestURLPasswordStaysSecret(t *testing.T) {
	w := newWorld(t)
	s := w.server(
		func(rw http.ResponseWriter, _ *http.Request) {
			http.Error(rw, "", http.StatusUnauthorized)
		},
	)
	got := w.refused(
		fmt.Sprintf(`{url: "%s"}`, strings.Replace(s.URL, "https://", "https://user:hunter2@", 1)),
	)
	if strings.Contains(got, "hunter2") {
		t.Errorf("the password is in the message: %s", got)
	}
}

func TestUntrustedCertificate(t *testing.T) {
	w := newWorld(t)
	s := w.server(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "192.0.2.1") })
	w.HTTP = nil // the system's certificates don't include this server's
	expectPart(t, w.refused(fmt.Sprintf(`{url: "%s"}`, s.URL)), "certificate")
}

func TestOffline(t *testing.T) {
	w := newWorld(t)
	s := w.server(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "192.0.2.1") })
	n := fmt.Sprintf(`{url: "%s", refresh: 1h}`, s.URL)
	w.Offline = true
	expectPart(t, w.refused(n), "offline")
	w.Offline = false
	w.allowed(n)
	w.Offline = true
	expect(t, "fresh content", w.allowed(n), "192.0.2.1/32")
	w.time = w.time.Add(2 * time.Hour)
	content, _ := w.stale(n)
	expect(t, "content", content, "192.0.2.1/32")
}

func TestDNS(t *testing.T) {
	w := newWorld(t)
	var answer []netip.Addr
	var failure error
	asked := 0
	w.LookupIP = func(_ context.Context, host string) ([]netip.Addr, error) {
		expect(t, "host", host, "vpn.example.net")
		asked++
		return answer, failure
	}
	const n = "{dns: vpn.example.net, refresh: 5m}"
	failure = errors.New("server misbehaving")
	expectPart(t, w.refused(n), "server misbehaving; it has never been loaded")
	failure = nil
	expectPart(t, w.refused(n), "resolves to no address")

	answer = []netip.Addr{
		addr("2001:db8::2"),
		addr("::ffff:192.0.2.7"),
		addr("192.0.2.6"),
		addr("192.0.2.7"),
		addr("fe80::1%eth0"),
	}
	expect(t, "content", w.allowed(n), "192.0.2.6/31 2001:db8::2/128 fe80::1/128")
	before := asked
	w.allowed(n)
	if asked != before {
		t.Error("asked again within the refresh interval")
	}
	w.time = w.time.Add(6 * time.Minute)
	for _, bad := range [][]netip.Addr{{}, {addr("0.0.0.0")}, {addr("::")}, {{}}} {
		answer = bad
		content, _ := w.stale(n)
		expect(t, "content", content, "192.0.2.6/31 2001:db8::2/128 fe80::1/128")
	}
	failure = context.DeadlineExceeded
	content, reason := w.stale(n)
	expect(t, "content", content, "192.0.2.6/31 2001:db8::2/128 fe80::1/128")
	expect(t, "reason", reason, "context deadline exceeded")
	answer, failure = []netip.Addr{addr("192.0.2.9")}, nil
	expect(t, "content", w.allowed(n), "192.0.2.9/32")
}

func TestFileNetwork(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "cdn.txt")
	n := fmt.Sprintf(`{file: "%s"}`, path)
	expect(t, "problem",
		w.refused(n), `policy.yaml:3:13: network "n": `+path+`: can't be read: no such file or directory`)

	write(t, path, "10.0.0.1/8\n# fine\n10.0.0.0/8 # fine\n\n  ::ffff:10.0.0.1\n10.0.0.0/40\r\n")
	expect(
		t,
		"problem",
		w.refused(n),
		path+`:1:1: "10.0.0.1/8" has host bits set; write 10.0.0.0/8 for the network, or 10.0.0.1 for the one address`+"\n"+
			path+`:5:3: "::ffff:10.0.0.1" is an IPv4-mapped IPv6 address, which never appears on the wire; write 10.0.0.1`+"\n"+
			path+`:6:1: "10.0.0.0/40": the prefix length of an IPv4 CIDR is a number from 0 to 32`,
	)

	write(t, path, "\xef\xbb\xbf10.0.0.0/9\r\n10.128.0.0/9 # the rest\r\n2001:db8::1")
	expect(t, "content", w.allowed(n), "10.0.0.0/8 2001:db8::1/128")

	for name, spoil := range map[string]func(){
		"gone":      func() { os.Remove(path) },
		"a folder":  func() { os.Remove(path); os.Mkdir(path, 0o700) },
		"bad":       func() { os.RemoveAll(path); write(t, path, "10.0.0.0/8\nnonsense\n") },
		"truncated": func() { write(t, path, "") },
		"writable":  func() { write(t, path, "0.0.0.0/0\n"); os.Chmod(path, 0o666) },
		"binary":    func() { os.RemoveAll(path); write(t, path, strings.Repeat("\x00", 1<<17)) },
	} {
		spoil()
		content, reason := w.stale(n)
		expect(t, name, content, "10.0.0.0/8 2001:db8::1/128")
		expectPart(t, reason, path)
	}
	os.RemoveAll(path)
	write(t, path, "# nobody for now\n")
	c, err := w.compile(n)
	if err != nil || c.State.Services[0].Sources.Len() != 0 || len(c.Warnings) != 1 {
		t.Errorf("a file with only a comment: %+v, %v", c, err)
	}
}

func TestFileNetworkMax(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "cdn.txt")
	write(t, path, "10.0.0.1\n10.0.0.2\n10.0.0.3\n")
	expect(
		t,
		"problem",
		w.refused(fmt.Sprintf(`{file: "%s", max: 2}`, path)),
		path+":3:1: more than 2 entries; raise max if that is right",
	)
}

// TestSlowNetworksLoadTogether checks that many slow sources take about as long as one.
func TestSlowNetworksLoadTogether(t *testing.T) {
	var n Networks
	var running, most atomic.Int32
	gate := make(chan struct{})
	n.LookupIP = func(context.Context, string) ([]netip.Addr, error) {
		now := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		if now == maxConcurrentLoads {
			close(gate)
		}
		<-gate
		return []netip.Addr{addr("192.0.2.1")}, nil
	}
	var b strings.Builder
	b.WriteString("version: 1\nnetworks:\n")
	for i := range maxConcurrentLoads {
		fmt.Fprintf(&b, "  n%d: {dns: host%d.example}\n", i, i)
	}
	b.WriteString(
		"  all: [n0, n1, n2, n3]\nservices:\n  - {name: a, allow: [all, n4, n5], except: [n6, n7]}\n",
	)
	if _, err := mustParse(t, b.String()).Compile(t.Context(), &n); err != nil {
		t.Fatal(err)
	}
	if most.Load() != maxConcurrentLoads {
		t.Errorf("at most %d ran together", most.Load())
	}
}
