package policy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What the State of a policy refuses, though Read let it through, is a mistake of the service.
func TestRefusedState(t *testing.T) {
	p := mustParse(t, "version: 1\nservices:\n  - {name: web, port: 80, allow: [any]}\n"+
		"  - {name: db, port: 81, allow: [any]}\n")
	p.services[1].enforced.Ports = nil
	p.services[1].enforced.Name = "not a name"
	_, err := p.Compile(t.Context(), &Networks{Now: testClock})
	var problems Problems
	if !errors.As(err, &problems) || problems.Faults() {
		t.Fatalf("the error is %T: %v", err, err)
	}
	if at := problems[0].Location(); at.Line != 4 || at.File == "" {
		t.Errorf("the mistake is at %v: %v", at, problems)
	}
}

// A fault of the machine is told from a mistake in the path.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		err   error
		fault bool
	}{
		{unix.EIO, true}, {unix.EMFILE, true}, {unix.ENOENT, false}, {unix.EISDIR, false},
		{unix.EACCES, false}, {errors.New("is not a regular file"), false},
	} {
		var r reporter
		r.unreadable(Location{File: "list"}, pathless{&os.PathError{Op: "read", Path: "p", Err: c.err}})
		if r.list.Faults() != c.fault || !strings.HasPrefix(r.list[0].Error(), "list: can't be read: ") {
			t.Errorf("%v: %v", r.list, r.list.Faults())
		}
		r.at(Location{File: "list"}, "a mistake")
		if r.list.Faults() {
			t.Errorf("%v beside a mistake", c.err)
		}
	}
	if (Problems{}).Faults() {
		t.Error("no problem is a fault")
	}
}

// That a network's server can't be reached, or breaks off, is a fault; that it says no, or that its
// name doesn't exist, may be a mistake in the policy.
func TestTransportFaults(t *testing.T) {
	gone := httptest.NewTLSServer(http.NotFoundHandler())
	gone.Close()
	none := httptest.NewTLSServer(http.NotFoundHandler())
	defer none.Close()
	short := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("192.0.2.1\n"))
	}))
	defer short.Close()
	noAnswer := &net.DNSError{Err: "server misbehaving", Name: "x", IsTemporary: true}
	notFound := &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}
	for _, c := range []struct {
		network string
		lookup  error
		fault   bool
	}{
		{"{url: '" + gone.URL + "'}", nil, true},
		{"{url: '" + none.URL + "'}", nil, false},
		{"{url: '" + short.URL + "'}", nil, true},
		{"{dns: a.example.net}", noAnswer, true},
		{"{dns: a.example.net}", notFound, false},
	} {
		p := mustParse(t, "version: 1\nnetworks: {n: "+c.network+"}\n"+
			"services: [{name: web, port: 80, allow: [n]}]\n")
		_, err := p.Compile(t.Context(), &Networks{
			HTTP: short.Client(), // trusts all of them
			LookupIP: func(context.Context, string) ([]netip.Addr, error) {
				return nil, c.lookup
			},
		})
		var problems Problems
		if !errors.As(err, &problems) || problems.Faults() != c.fault {
			t.Errorf("%s: %v, a fault is %v", c.network, err, problems.Faults())
		}
	}
}
