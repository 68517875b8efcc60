package api

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestGoodbyeIsAFailure: what is said without reading a request is what our own client understands.
func TestGoodbyeIsAFailure(t *testing.T) {
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(goodbye))), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var body strings.Builder
	if _, err := bufio.NewReader(response.Body).WriteTo(&body); err != nil {
		t.Fatal(err)
	}
	want := httptest.NewRecorder()
	Fail(want, errCrowded)
	if response.StatusCode != want.Code || body.String() != want.Body.String() {
		t.Errorf(
			"%d %s, but otherwise %d %s",
			response.StatusCode,
			body.String(),
			want.Code,
			want.Body,
		)
	}
}
