package api

import (
	"fmt"
	"net/http"
)

// Paths serves what a mux knows, and answers with a Failure where the mux would answer in plain
// text: no such path, or another method. known is a path to name as an example.
func Paths(mux *http.ServeMux, known string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" || r.RequestURI == "*" {
			mux.ServeHTTP(w, r)
			return
		}
		refused := refusal{header: http.Header{}}
		h.ServeHTTP(&refused, r)
		f := Failure{Kind: "usage"}
		switch allowed := refused.header.Get("Allow"); refused.status {
		case http.StatusNotFound:
			f.Message = fmt.Sprintf("there is no path %q here; %s is one", r.URL.Path, known)
		case http.StatusMethodNotAllowed:
			w.Header().Set("Allow", allowed)
			f.Message = fmt.Sprintf("%s takes %s, not %s", r.URL.Path, allowed, r.Method)
		default: // a redirection, such as from //v1/status
			h.ServeHTTP(w, r)
			return
		}
		answer(w, refused.status, f)
	})
}

// refusal takes a mux's own answer, and keeps its status and headers.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(b []byte) (int, error) { return len(b), nil }
