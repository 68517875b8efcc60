package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
)

// A request is one JSON object. One that a person writes has the State of its policy in it.
// Ours don't: a million sources are 20 MB of text, which both sides would hold several times. Ours
// have a line of JSON without the State, and behind it the State in binary form.

// withBinaryState is the content type of such a request.
const withBinaryState = "application/vnd.portgrave.request-with-state"

// encodeRequest is a request's body and content type.
func encodeRequest(q any) (body []byte, contentType string, err error) {
	var state *firewall.State
	bare := func(p *host.Policy) *host.Policy {
		state = &p.State
		without := *p
		without.State = firewall.State{}
		return &without
	}
	switch x := q.(type) {
	case none:
		return nil, "", nil
	case host.PlanRequest:
		if x.Policy != nil && x.Policy.Ref == "" {
			x.Policy = bare(x.Policy)
		}
		q = x
	case host.ApplyRequest:
		if x.Policy != nil && x.Policy.Ref == "" {
			x.Policy = bare(x.Policy)
		}
		q = x
	}
	line, err := json.Marshal(q)
	if err != nil || state == nil {
		return line, "application/json", err
	}
	var b bytes.Buffer
	b.Grow(len(line) + 1 + state.BinarySize())
	b.Write(line)
	b.WriteByte('\n')
	err = state.WriteBinary(&b)
	return b.Bytes(), withBinaryState, err
}

// policyOf is where a request has its policy; nil if such requests have none.
func policyOf(q any) **host.Policy {
	switch q := q.(type) {
	case *host.PlanRequest:
		return &q.Policy
	case *host.ApplyRequest:
		return &q.Policy
	}
	return nil
}

// decodeRequest reads a request in either form. What a reader may send is bounded.
func decodeRequest(w http.ResponseWriter, r *http.Request, q any, writer bool) error {
	most := int64(maxReaderRequest)
	if writer {
		most = maxRequest
	}
	if r.ContentLength > most {
		return tooLarge(most, writer)
	}
	body, err := readBody(http.MaxBytesReader(w, r.Body, most), r.ContentLength)
	var beyond *http.MaxBytesError
	if errors.As(err, &beyond) {
		return tooLarge(most, writer)
	}
	if err != nil {
		return host.Usagef("reading the request: %w", err)
	}
	if r.Header.Get("Content-Type") == withBinaryState {
		err = decodeWithState(body, q)
	} else {
		err = decode(body, q)
	}
	if p := policyOf(q); err == nil && !writer && p != nil && *p != nil {
		if (*p).Ref != "" {
			err = host.Usagef("the request: only root may refer to a policy")
		} else if n := sourcesOf((*p).State); n > maxReaderSources {
			err = host.Usagef("the request's policy has %d sources, and only root may send more "+
				"than %d: use sudo, or leave the policy out, and the daemon reads its own",
				n, maxReaderSources)
		}
	}
	return err
}

func tooLarge(most int64, writer bool) error {
	if writer {
		return host.Usagef("the request has more than %d bytes", most)
	}
	return host.Usagef("the request has more than %d bytes, and only root may send so much: "+
		"use sudo, or leave the policy out, and the daemon reads its own", most)
}

// readBody reads a body to its end. It takes memory as bytes come, since the length is only
// announced; once there are many, no more than that length.
func readBody(from io.Reader, announced int64) ([]byte, error) {
	body := make([]byte, 0, min(max(announced, 0), maxReaderRequest)+bytes.MinRead)
	for {
		if len(body) == cap(body) {
			room := 2 * cap(body)
			if whole := int(announced) + bytes.MinRead; whole > cap(body) && whole < room {
				room = whole
			}
			body = append(make([]byte, 0, room), body...)
		}
		n, err := from.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			return body, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// sourcesOf counts what the services of a State list, shared or not.
func sourcesOf(s firewall.State) (n int) {
	for _, svc := range s.Services {
		n += svc.Sources.Len() + svc.Addresses.Len() + len(svc.AllExpiring())
	}
	return n
}

func decodeWithState(body []byte, q any) error {
	line, state, _ := bytes.Cut(body, []byte("\n"))
	if err := decode(line, q); err != nil {
		return err
	}
	p := policyOf(q)
	if p == nil || *p == nil {
		return host.Usagef("the request: it has a State, but no policy")
	}
	if err := (*p).State.UnmarshalBinary(state); err != nil {
		return host.Usagef("the request: %w", err)
	}
	return nil
}

// Fail answers with an error, as a Failure.
func Fail(w http.ResponseWriter, err error) {
	f, status := failureOf(err)
	answer(w, status, f)
}

func answer(w http.ResponseWriter, status int, x any) {
	b, err := json.Marshal(WithLists(x))
	if err != nil {
		b, status = []byte(`{"error":"the answer can't be written as JSON","kind":"failed"}`),
			http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}
