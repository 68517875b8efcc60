package statefiles

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWhatIsNoFile: whatever else bears the name of a file is reported at once, and never waited
// for.
func TestWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	huge, err := os.Create(at("holes"))
	if err == nil {
		err = errors.Join(huge.Truncate(1<<40), huge.Close())
	}
	err = errors.Join(err, unix.Mkfifo(at("fifo"), 0o600), os.Mkdir(at("folder"), 0o700),
		os.WriteFile(at("file"), nil, 0o600), os.Symlink("file", at("link")),
		os.Symlink("link-loop", at("link-loop")))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"fifo": ErrIrregular, "folder": ErrIrregular, "link": ErrLink, "link-loop": ErrLink,
		"none": os.ErrNotExist, "file": nil,
	} {
		if _, err := Read(at(name)); !errors.Is(err, want) {
			t.Errorf("reading %s: %v, want %v", name, err, want)
		}
		if want == nil || want == os.ErrNotExist {
			continue
		}
		for _, flags := range []int{os.O_RDWR, os.O_WRONLY | os.O_APPEND} {
			if f, err := Open(at(name), flags); err == nil {
				_ = f.Close()
				t.Errorf("%s was opened", name)
			}
		}
	}
	if _, err := Read(at("holes")); err == nil {
		t.Error("a file of 1 TiB was read")
	}
	// A reader at the other end does not make a FIFO a log.
	r, err := os.OpenFile(at("fifo"), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if f, err := Open(at("fifo"), os.O_WRONLY|os.O_APPEND); !errors.Is(err, ErrIrregular) {
		_ = f.Close()
		t.Errorf("a FIFO with a reader: %v", err)
	}
}

// TestLinksOnTheWay: root follows those of root's folders, and no others; to a user's file under a
// second name it does not write.
func TestLinksOnTheWay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: nobody else's folders can be made")
	}
	const user = 4242
	base := t.TempDir()
	at := func(names ...string) string { return filepath.Join(append([]string{base}, names...)...) }
	err := errors.Join(
		os.MkdirAll(at("real", "inner"), 0o755),
		os.Symlink("real", at("relative")),
		os.Symlink(at("real"), at("absolute")),
		os.Symlink("loop", at("loop")),
		os.WriteFile(at("secret"), []byte("root"), 0o600),

		os.Mkdir(at("users"), 0o700),
		os.Symlink(at("real", "inner"), at("users", "inner")),
		os.Link(at("secret"), at("users", "second")),
		os.WriteFile(at("users", "own"), nil, 0o600),
		os.Chown(at("users", "own"), user, user),
		os.Link(at("users", "own"), at("users", "backup")),
		os.Chown(at("users"), user, user),

		os.Mkdir(at("shared"), 0o777),
		os.Chmod(at("shared"), 0o777),
		os.Symlink(at("real"), at("shared", "roots")),

		os.Mkdir(at("sticky"), 0o777),
		os.Chmod(at("sticky"), 0o777|os.ModeSticky),
		os.Symlink(at("real"), at("sticky", "roots")),
		os.Symlink(at("real"), at("sticky", "users")),
		os.Lchown(at("sticky", "users"), user, user),
	)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		at("real", "inner"):            nil,
		at("relative", "inner"):        nil,
		at("absolute", "inner"):        nil,
		at("sticky", "roots", "inner"): nil,
		at("users", "inner"):           ErrLink,
		at("shared", "roots", "inner"): ErrLink,
		at("sticky", "users", "inner"): ErrLink,
		at("loop", "inner"):            unix.ELOOP,
		at("none", "inner"):            os.ErrNotExist,
		at("secret", "inner"):          unix.ENOTDIR,
	} {
		err := Write(filepath.Join(path, "a.lease"), Bytes(nil))
		if !errors.Is(err, want) {
			t.Errorf("writing in %s: %v, want %v", path, err, want)
		}
		if _, err := At(path).List(); !errors.Is(err, want) {
			t.Errorf("listing %s: %v, want %v", path, err, want)
		}
		_, err = os.Lstat(at("real", "inner", "a.lease"))
		if written := err == nil; written != (want == nil) {
			t.Errorf("%s: written: %v", path, written)
		}
		_ = os.Remove(at("real", "inner", "a.lease"))
	}
	if f, err := Open(at("users", "second"), os.O_RDWR); !errors.Is(err, ErrSecondName) {
		_ = f.Close()
		t.Errorf("root's file under a second name: %v", err)
	}
	f, err := Open(at("users", "own"), os.O_RDWR)
	if err != nil {
		t.Errorf("the owner's own file, which has a second name: %v", err)
	}
	_ = f.Close()
	if err := MakeAll(at("users", "inner", "deeper"), 0o700); !errors.Is(err, ErrLink) {
		t.Errorf("making a folder behind a link: %v", err)
	}
}
