package daemon

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A file counts as changed when its writer has closed it, when it came, went or was replaced, or
// when others may read it; not while it is written. Folders that were replaced are watched where
// they are now.
func TestWatchedFiles(t *testing.T) {
	var log bytes.Buffer
	f, err := watchFiles(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	lists, other := filepath.Join(dir, "lists"), filepath.Join(dir, "other")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(lists, 0o755))
	must(os.Mkdir(other, 0o755))
	f.watch([]string{dir, lists, filepath.Join(dir, "nowhere")})
	changed := func(what string, do func() error) {
		t.Helper()
		must(do())
		select {
		case <-f.changed:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing was heard", what)
		}
	}
	quiet := func(what string, do func() error) {
		t.Helper()
		must(do())
		select {
		case <-f.changed:
			t.Fatalf("%s: a change was reported", what)
		case <-time.After(3 * settle):
		}
	}
	path := filepath.Join(lists, "list.txt")
	changed(
		"a file that is there from the start",
		func() error { return os.WriteFile(path, []byte("x\n"), 0o600) },
	)
	writer, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	must(err)
	quiet("a writer that goes on", func() error { _, err := writer.WriteString("y\n"); return err })
	quiet("a reader", func() error { _, err := os.ReadFile(path); return err })
	changed("a writer that ends", writer.Close)
	changed("a file that others may read", func() error { return os.Chmod(path, 0o644) })
	changed("a file that is renamed", func() error { return os.Rename(path, path+"2") })
	changed("a link", func() error { return os.Symlink("list.txt2", path) })
	changed("a file that is gone", func() error { return os.Remove(path + "2") })
	changed(
		"a folder that is replaced",
		func() error { return os.Rename(lists, filepath.Join(dir, "gone")) },
	)
	changed("and another in its place", func() error { return os.Rename(other, lists) })
	f.watch([]string{lists})
	changed("a file in the new folder", func() error { return os.WriteFile(path, nil, 0o600) })
	quiet(
		"a file in the old one",
		func() error { return os.WriteFile(filepath.Join(dir, "gone", "x"), nil, 0o600) },
	)
	quiet(
		"a file in a folder that is no longer watched",
		func() error { return os.WriteFile(filepath.Join(dir, "x"), nil, 0o600) },
	)
	if log.Len() > 0 {
		t.Error(log.String())
	}
}

// Events that do not end put a reading off, but not for ever.
func TestWatchedFilesWithoutQuiet(t *testing.T) {
	f, err := watchFiles(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f.watch([]string{dir})
	for begin := time.Now(); ; time.Sleep(settle / 10) {
		if err := os.WriteFile(filepath.Join(dir, "list.txt"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		select {
		case <-f.changed:
			return
		default:
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatal("nothing is read while files change without end")
		}
	}
}

// The earliest of the times at which files may be whole decides when they are looked at again.
func TestUnfinishedFiles(t *testing.T) {
	var none *unfinished
	if none.due() != nil || new(unfinished).due() != nil {
		t.Error("nothing is to be tried again")
	}
	u := &unfinished{}
	now := time.Now()
	for path, again := range map[string]time.Time{
		"a": now.Add(time.Hour),
		"b": {},
		"c": now.Add(-time.Second),
	} {
		u.add(path, again)
	}
	if len(u.files) != 3 || !u.again.Equal(now.Add(-time.Second)) {
		t.Errorf("%+v", u)
	}
	select {
	case <-u.due():
	case <-time.After(20 * time.Second):
		t.Error("the file that is whole by now is not read")
	}
}
