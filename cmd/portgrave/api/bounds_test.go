package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host"
)

// TestBodiesGrowWithWhatCame: memory is taken for the bytes that are there, not for those
// announced.
func TestBodiesGrowWithWhatCame(t *testing.T) {
	for _, c := range []struct {
		sent, most int
		announced  int64
	}{
		{3, maxReaderRequest + bytes.MinRead, maxRequest},
		{3, 2 * bytes.MinRead, -1},
		{3, 2 * bytes.MinRead, 3},
		{1 << 20, 1<<20 + bytes.MinRead, 1 << 20}, // a whole one has no room that it does not need
		{1 << 20, 4 << 20, -1},
	} {
		body, err := readBody(strings.NewReader(strings.Repeat("x", c.sent)), c.announced)
		if err != nil || len(body) != c.sent || cap(body) > c.most {
			t.Errorf(
				"%d of %d bytes came: %d, in room for %d (%v)",
				c.sent,
				c.announced,
				len(body),
				cap(body),
				err,
			)
		}
	}
}

// TestReadersSendLittle: a reader's request is bounded in bytes, announced or not, and in what a
// few bytes stand for. One who may write is not.
func TestReadersSendLittle(t *testing.T) {
	cidrs := make([]string, 1000)
	for i := range cidrs {
		cidrs[i] = fmt.Sprintf("10.%d.%d.0/25", i>>8, i&0xff)
	}
	sources := address.Must(cidrs...)
	policyWith := func(services int) *host.Policy {
		p := &host.Policy{Origin: "test"}
		for n := range services {
			p.State.Services = append(p.State.Services, firewall.Service{
				Name: fmt.Sprint(
					"s",
					n,
				), Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: uint16(n + 1), Last: uint16(n + 1)}}, Sources: sources})
		}
		return p
	}
	small, smallType, err := encodeRequest(host.PlanRequest{Policy: policyWith(1)})
	if err != nil {
		t.Fatal(err)
	}
	shared, sharedType, err := encodeRequest(host.PlanRequest{Policy: policyWith(100)})
	if err != nil {
		t.Fatal(err)
	}
	if len(shared) > maxReaderRequest {
		t.Fatalf("%d bytes are too many for what this is to show", len(shared))
	}
	long := append([]byte(`{"backend":"auto"}`), bytes.Repeat([]byte(" "), maxReaderRequest)...)
	for _, c := range []struct {
		what, contentType string
		body              []byte
		unannounced       bool
		reader            bool // is let through
	}{
		{"a small policy", smallType, small, false, true},
		{"a long request", "application/json", long, false, false},
		{"a long request of unknown length", "application/json", long, true, false},
		{"a set that many services share", sharedType, shared, false, false},
	} {
		for _, writer := range []bool{false, true} {
			r := httptest.NewRequest(http.MethodPost, "/v1/plan", bytes.NewReader(c.body))
			r.Header.Set("Content-Type", c.contentType)
			if c.unannounced {
				r.ContentLength = -1
			}
			var q host.PlanRequest
			err := decodeRequest(httptest.NewRecorder(), r, &q, writer)
			var usage host.UsageError
			if ok := writer || c.reader; ok != (err == nil) ||
				!ok && (!errors.As(err, &usage) || !strings.Contains(err.Error(), "only root")) {
				t.Errorf("%s, writer %v: %v", c.what, writer, err)
			}
		}
	}
}

// An effect that readers wait for keeps root from none.
func TestRootWaitsForNoReadersEffect(t *testing.T) {
	s := Server{
		Effect:         func(context.Context, *host.Difference) {},
		effects:        make(chan struct{}, 1),
		readersEffects: make(chan struct{}, 1),
	}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	s.readersEffects <- struct{}{} // a reader's
	d := host.Difference{Wanted: &host.Wanted{}}
	if s.addEffect(ctx, &d, true); d.Wanted == nil {
		t.Error("root has waited for a reader")
	}
	if s.addEffect(ctx, &d, false); d.Wanted != nil {
		t.Error("two readers at a time")
	}
}
