package history

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/host/bootclock"
)

// A policy's text is kept as long as a generation has it, and no longer.
func TestPolicyTexts(t *testing.T) {
	s := open(t)
	record := func(text string) string {
		t.Helper()
		name, err := s.KeepPolicy([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		g := generation(text)
		g.Policy = name
		if _, err := s.Append(g); err != nil {
			t.Fatal(err)
		}
		return name
	}
	first := record("first")
	if again := record("first"); again != first {
		t.Errorf("the same text is kept as %s and %s", first, again)
	}
	if g, err := s.Last(); err != nil || g.Policy != first {
		t.Errorf("the last generation has policy %q, %v", g.Policy, err)
	}
	if text, err := s.Policy(first); err != nil || string(text) != "first" {
		t.Errorf("read %q, %v", text, err)
	}
	other := record("other")
	if err := s.SetPolicy(3, first); err != nil {
		t.Fatal(err)
	}
	if r, err := s.Head(); err != nil || r.Policy != first {
		t.Errorf("set, it is %q, %v", r.Policy, err)
	}
	if _, err := s.KeepPolicy([]byte("third")); err != nil { // makes room
		t.Fatal(err)
	}
	if _, err := s.Policy(other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a text that no generation has: %v", err)
	}
	for i := range Keep + 5 {
		record(strconv.Itoa(i))
	}
	left, err := os.ReadDir(filepath.Join(s.dir, texts))
	if err != nil || len(left) > Keep+1 {
		t.Errorf("%d texts are left, %v", len(left), err)
	}
	if _, foreign, err := s.numbers(); foreign != nil || err != nil {
		t.Errorf("the folder of generations: %v, %v", foreign, err)
	}
}

func TestDamagedPolicyText(t *testing.T) {
	s := open(t)
	name, err := s.KeepPolicy([]byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(
		filepath.Join(s.dir, texts, name+textSuffix), []byte("test"), 0o600,
	); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Policy(name); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged text: %v", err)
	}
	if again, err := s.KeepPolicy([]byte("text")); err != nil || again != name {
		t.Errorf("kept again: %s, %v", again, err)
	}
	if text, err := s.Policy(name); err != nil || string(text) != "text" {
		t.Errorf("afterwards: %q, %v", text, err)
	}
}

// The boot clock ends a trial within one start of the system, whatever the wall clock says, and a
// reboot ends it at once.
func TestTrialEnds(t *testing.T) {
	noon := bootclock.Reading{
		Wall:   time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC),
		BootID: "a",
		Uptime: time.Hour,
	}
	at := func(wall, uptime time.Duration, boot string) bootclock.Reading {
		return bootclock.Reading{
			Wall:   noon.Wall.Add(wall),
			BootID: boot,
			Uptime: noon.Uptime + uptime,
		}
	}
	g := generation("on trial")
	g.OnTrial(noon, time.Minute)
	for name, tt := range map[string]struct {
		now     bootclock.Reading
		overdue bool
	}{
		"at once":                      {noon, false},
		"in time":                      {at(59*time.Second, 59*time.Second, "a"), false},
		"too late":                     {at(time.Minute, time.Minute, "a"), true},
		"set back an hour, too late":   {at(-time.Hour, time.Minute, "a"), true},
		"set forward an hour, in time": {at(time.Hour, time.Second, "a"), false},
		"after a reboot":               {at(time.Second, -time.Hour, "b"), true},
		"no boot ID, in time":          {at(time.Second, 0, ""), false},
		"no boot ID, too late":         {at(time.Minute, 0, ""), true},
	} {
		if got := g.Overdue(tt.now); got != tt.overdue {
			t.Errorf("%s: overdue is %v", name, got)
		}
	}
	g.Confirmed = true
	if g.Overdue(at(time.Hour, time.Hour, "b")) {
		t.Error("a confirmed one is overdue")
	}
}
