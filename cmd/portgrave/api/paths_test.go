package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestPaths(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc(
		"GET /v1/status",
		func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "fine") },
	)
	mux.HandleFunc(
		"POST /v1/apply",
		func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "fine") },
	)
	h := Paths(mux, "/v1/status")
	for _, x := range []struct {
		method, path string
		status       int
		message      string
	}{
		{"GET", "/v1/status", 200, ""},
		{"HEAD", "/v1/status", 200, ""},
		{"POST", "/v1/status", 405, "/v1/status takes GET, HEAD, not POST"},
		{"DELETE", "/v1/apply", 405, "/v1/apply takes POST, not DELETE"},
		{"GET", "/", 404, `there is no path "/" here; /v1/status is one`},
		{"GET", "/v1/stat", 404, `there is no path "/v1/stat" here; /v1/status is one`},
		{"POST", "/v2/apply", 404, `there is no path "/v2/apply" here; /v1/status is one`},
		{"GET", "//v1/status", 307, ""},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(x.method, "http://portgrave"+x.path, nil))
		if w.Code != x.status {
			t.Errorf("%s %s: %d, want %d", x.method, x.path, w.Code, x.status)
		}
		if x.message == "" {
			continue
		}
		var f Failure
		if err := json.Unmarshal(w.Body.Bytes(), &f); err != nil || f.Message != x.message ||
			f.Kind != "usage" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %q, want %s", x.method, x.path, w.Body, x.message)
		}
	}
}
