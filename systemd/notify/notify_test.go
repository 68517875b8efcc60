package notify

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// TestNotify checks the messages to systemd.
func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	receive := func() string {
		buf := make([]byte, 1024)
		n, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	for want, send := range map[string]func(){
		"READY=1\nSTATUS=generation 3, in sync": func() { Ready("generation 3, in sync") },
		"STATUS=one line READY=1":               func() { Status("one line\nREADY=1") },
		"STOPPING=1":                            Stopping,
		"WATCHDOG=1":                            Alive,
	} {
		send()
		if got := receive(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	Reloading()
	first, second, _ := strings.Cut(receive(), "\n")
	var usec int64
	if _, err := fmt.Sscanf(second, "MONOTONIC_USEC=%d", &usec); err != nil ||
		first != "RELOADING=1" || usec == 0 {
		t.Errorf("%q %q: %v", first, second, err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	Ready("nobody listens") // does nothing
}

// TestWatchdog checks that the ticker ticks only if systemd asks this process.
func TestWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "2000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	w := Watchdog()
	<-w.C
	w.Stop()
	t.Setenv("WATCHDOG_PID", "1")
	w = Watchdog()
	defer w.Stop()
	select {
	case <-w.C:
		t.Error("it ticks for another process")
	default:
	}
}

// TestJournal checks that a record is one entry with its fields, also with With and groups.
func TestJournal(t *testing.T) {
	type entry struct {
		message  string
		priority journal.Priority
		fields   map[string]string
	}
	var got entry
	log := slog.New(Journal(func(m string, p journal.Priority, f map[string]string) error {
		got = entry{m, p, f}
		return nil
	}, slog.DiscardHandler))
	log.With("backend", "nftables").WithGroup("peer").Warn("drift repaired", "changes", 3, "author",
		"nft (process 7)", slog.Group("at", "when", time.Unix(0, 0).UTC()), "event", "x", "error",
		errors.New("no"))
	want := entry{`drift repaired backend=nftables peer.changes=3 peer.author="nft (process 7)" ` +
		`peer.at.when=1970-01-01T00:00:00Z peer.event=x peer.error=no`, journal.PriWarning, map[string]string{
		"PORTGRAVE_EVENT": "drift repaired", "PORTGRAVE_BACKEND": "nftables", "PORTGRAVE_PEER_CHANGES": "3", "PORTGRAVE_PEER_AUTHOR": "nft " +
			"(process 7)",
		"PORTGRAVE_PEER_AT_WHEN": "1970-01-01T00:00:00Z", "PORTGRAVE_PEER_EVENT": "x", "PORTGRAVE_PEER_ERROR": "no"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for level, want := range map[slog.Level]journal.Priority{
		slog.LevelInfo:      journal.PriInfo,
		slog.LevelError:     journal.PriErr,
		slog.LevelError + 4: journal.PriErr,
	} {
		log.Log(t.Context(), level, "x", "event", "y")
		if got.priority != want || got.fields["PORTGRAVE_EVENT"] != "x" ||
			got.fields["PORTGRAVE_EVENT_"] != "y" {
			t.Errorf("%v: %+v, want priority %v", level, got, want)
		}
	}
	got = entry{}
	log.Debug("too much")
	if got.message != "" {
		t.Errorf("%+v", got)
	}
}

// TestJournalFallback checks that a record which the journal refuses is written with its
// attributes.
func TestJournalFallback(t *testing.T) {
	var out bytes.Buffer
	h := Journal(
		func(string, journal.Priority, map[string]string) error { return errors.New("away") },
		slog.NewJSONHandler(&out, nil),
	)
	slog.New(h).With("a", 1).WithGroup("g").Error("lost?", "b", 2)
	for _, want := range []string{`"msg":"lost?"`, `"a":1`, `"g":{"b":2}`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s lacks %s", out.String(), want)
		}
	}
}

// TestJournalStream accepts only the stream that the environment names.
func TestJournalStream(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	for value, want := range map[string]bool{
		fmt.Sprintf("%d:%d", s.Dev, s.Ino):   true,
		fmt.Sprintf("%d:%d", s.Dev, s.Ino+1): false,
		"":                                   false,
		"nonsense":                           false,
	} {
		if got := JournalStream(f, func(string) string { return value }); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

// FuzzFieldName checks that the journal accepts every name.
func FuzzFieldName(f *testing.F) {
	for _, s := range []string{"", "service", "ü.x", strings.Repeat("long", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := fieldName(name)
		if len(got) > 64 || !strings.HasPrefix(got, prefix) ||
			strings.Trim(got, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			t.Errorf("%q becomes %q", name, got)
		}
	})
}
