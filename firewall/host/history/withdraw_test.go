package history

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/host/statefiles/faulty"
)

// TestWithdraw: a withdrawn generation is as if it had never been, but for its number.
func TestWithdraw(t *testing.T) {
	s := open(t)
	if !s.Lost() {
		t.Error("a new history has something")
	}
	first, err := s.Append(generation("first"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Append(generation("second"))
	if err == nil {
		err = errors.Join(s.Withdraw(second.Number), s.Withdraw(second.Number))
	}
	if err != nil {
		t.Fatal(err)
	}
	if last, err := s.Last(); err != nil || last.Number != first.Number {
		t.Errorf("the last one is %+v, %v", last, err)
	}
	if all, err := s.List(); err != nil || len(all) != 1 {
		t.Errorf("%d generations, %v", len(all), err)
	}
	third, err := s.Append(generation("third"))
	if err != nil || third.Number != second.Number+1 {
		t.Errorf("the next one is %d, %v", third.Number, err)
	}
	if left := s.withdrawn(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	// The first and only one, too.
	s = open(t)
	if g, err := s.Append(generation("only")); err != nil || s.Withdraw(g.Number) != nil {
		t.Fatal(err)
	}
	if _, err := s.Last(); !errors.Is(err, ErrNone) || s.Lost() {
		t.Errorf("%v; lost: %v", err, s.Lost())
	}
}

// TestWithdrawFaults: it succeeds as long as the file can be renamed or removed, and else says that
// the record stays.
func TestWithdrawFaults(t *testing.T) {
	for operation, works := range map[string]bool{"withdraw": true, "remove": false} {
		s := open(t)
		g, err := s.Append(generation("x"))
		if err != nil {
			t.Fatal(err)
		}
		s.files.Folder = faulty.Folder{Folder: s.files.Folder, Operation: operation}
		if err := s.Withdraw(g.Number); works != (err == nil) {
			t.Errorf("%s: %v", operation, err)
		}
		if _, err := s.Last(); works != errors.Is(err, ErrNone) {
			t.Errorf("%s: the last one: %v", operation, err)
		}
	}
}

// TestHold: a lock whose file is held open keeps others out as any other does, also when the file
// is gone, and is released.
func TestHold(t *testing.T) {
	s := open(t)
	other := View(s.dir)
	if err := s.Hold(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		unlock, err := s.Lock(context.Background(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Lock(context.Background(), time.Millisecond); !errors.Is(err, ErrHeld) {
			t.Errorf("another run gets the lock: %v", err)
		}
		unlock()
		unlock, err = other.Lock(context.Background(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lock(context.Background(), time.Millisecond); !errors.Is(err, ErrHeld) {
			t.Errorf("the lock is taken from another run: %v", err)
		}
		unlock()
	}
	// Another file under that name is the one that others lock.
	path := filepath.Join(s.dir, "lock")
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	unlock, err := other.Lock(context.Background(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(context.Background(), time.Millisecond); !errors.Is(err, ErrHeld) {
		t.Errorf("the lock's old file is locked: %v", err)
	}
	unlock()
	// Without the folder there is nobody to keep out, and nothing fails.
	if err := os.RemoveAll(s.dir); err != nil {
		t.Fatal(err)
	}
	if unlock, err = s.Lock(context.Background(), time.Second); err != nil {
		t.Fatal(err)
	}
	unlock()
}
