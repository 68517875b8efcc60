package policy

import (
	"errors"
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
