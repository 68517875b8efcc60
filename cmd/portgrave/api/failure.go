package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// Failure is an error on its way through the socket: {"error": …, "kind": …}.
type Failure struct {
	Message  string            `json:"error"`
	Kind     string            `json:"kind"`               // one of kinds
	Problems policy.Problems   `json:"problems,omitempty"` // of kind "policy"
	Tests    []json.RawMessage `json:"tests,omitempty"`    // of kind "tests": policy.TestResult
}

// kinds are the errors that callers tell apart, with the HTTP status of each.
var kinds = []struct {
	name   string
	status int
	is     error // nil: told by type
}{
	{"usage", http.StatusBadRequest, nil},
	{"policy", http.StatusUnprocessableEntity, nil},
	{"tests", http.StatusUnprocessableEntity, nil},
	{"permission", http.StatusForbidden, firewall.ErrPermission},
	{"foreign", http.StatusConflict, firewall.ErrForeign},
	{"conflict", http.StatusConflict, firewall.ErrConflict},
	{"protected", http.StatusConflict, firewall.ErrProtected},
	{"uncompiled", http.StatusConflict, ErrUncompiled},
	{"busy", http.StatusServiceUnavailable, ErrBusy},
	{"failed", http.StatusInternalServerError, nil},
}

// ErrBusy: the daemon is in the middle of something that takes long.
var ErrBusy = errors.New("the daemon is busy: try again")

// Busy is an ErrBusy in other words.
func Busy(words string) error { return remoteError{words, ErrBusy} }

// KindOf is the kind of an error, one of kinds.
func KindOf(err error) string {
	f, _ := failureOf(err)
	return f.Kind
}

func failureOf(err error) (Failure, int) {
	f := Failure{Message: err.Error(), Kind: "failed"}
	var usage host.UsageError
	var tests host.TestsFailedError
	switch {
	case errors.As(err, &usage):
		f.Kind = "usage"
	case errors.As(err, &f.Problems):
		f.Kind = "policy"
	case errors.As(err, &tests):
		f.Kind, f.Tests = "tests", tests.Tests
	}
	for _, k := range kinds {
		if f.Kind == "failed" && k.is != nil && errors.Is(err, k.is) {
			f.Kind = k.name
		}
		if f.Kind == k.name {
			return f, k.status
		}
	}
	return f, http.StatusInternalServerError
}

// err is the error that a failure was before it was sent.
func (f Failure) err() error {
	switch f.Kind {
	case "usage":
		return host.UsageError{Err: errors.New(f.Message)}
	case "policy":
		return f.Problems
	case "tests":
		return host.TestsFailedError{Tests: f.Tests}
	}
	for _, k := range kinds {
		if k.name == f.Kind && k.is != nil {
			return remoteError{f.Message, k.is}
		}
	}
	return errors.New(f.Message)
}

// remoteError has the words of the far side and the identity of an error of ours.
type remoteError struct {
	words string
	is    error
}

func (e remoteError) Error() string { return e.words }
func (e remoteError) Unwrap() error { return e.is }
