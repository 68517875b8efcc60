package statefiles

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRootWritesForTheOwner: what root makes in another user's folder is that user's, and nothing
// else is.
func TestRootWritesForTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: files can't be given away")
	}
	const user, group = 4242, 4343
	base := t.TempDir()
	dir, secret := filepath.Join(base, "state"), filepath.Join(base, "secret")
	if err := errors.Join(
		os.Mkdir(dir, 0o700), os.Chown(dir, user, group), os.WriteFile(secret, []byte("x"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	owned := func(path string, uid, gid uint32, mode fs.FileMode) {
		t.Helper()
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if s := info.Sys().(*syscall.Stat_t); s.Uid != uid || s.Gid != gid ||
			info.Mode().Perm() != mode {
			t.Errorf(
				"%s: %d:%d %v, want %d:%d %v",
				path,
				s.Uid,
				s.Gid,
				info.Mode().Perm(),
				uid,
				gid,
				mode,
			)
		}
	}
	below := filepath.Join(dir, "a", "b")
	if err := MakeAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	owned(filepath.Dir(below), user, group, 0o700)
	owned(below, user, group, 0o700)
	for _, name := range []string{"new", "new"} { // made, then replaced
		if err := At(below).Write(name, Bytes([]byte("content"))); err != nil {
			t.Fatal(err)
		}
		owned(filepath.Join(below, name), user, group, 0o600)
	}
	f, err := Open(filepath.Join(dir, "lock"), os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	owned(filepath.Join(dir, "lock"), user, group, 0o600)

	// Links that the owner has put where root will write lead nowhere.
	for _, name := range []string{"link", "dangling"} {
		target := secret
		if name == "dangling" {
			target = filepath.Join(base, "made")
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if f, err := Open(filepath.Join(dir, name), os.O_RDWR); err == nil {
			_ = f.Close()
			t.Errorf("a link to %s was followed", target)
		}
		// replaces the link itself
		if err := At(dir).Write(name, Bytes([]byte("mine"))); err != nil {
			t.Error(err)
		}
		owned(filepath.Join(dir, name), user, group, 0o600)
	}
	owned(secret, 0, 0, 0o600)
	if b, err := os.ReadFile(secret); err != nil || string(b) != "x" {
		t.Errorf("the secret is %q, %v", b, err)
	}
	if _, err := os.Lstat(filepath.Join(base, "made")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a dangling link was followed")
	}
	// An existing file that is root's stays so, and in root's folders so does everything.
	if err := os.WriteFile(filepath.Join(dir, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err = Open(filepath.Join(dir, "old"), os.O_RDWR); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	owned(filepath.Join(dir, "old"), 0, 0, 0o600)
	if err := Write(filepath.Join(base, "roots"), Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	owned(filepath.Join(base, "roots"), 0, 0, 0o600)
}

// TestMakeAll refuses what is no folder, and is content with what is there.
func TestMakeAll(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"":           nil,
		"x/y":        nil,
		"x":          nil,
		"file":       unix.ENOTDIR,
		"file/below": unix.ENOTDIR,
	} {
		if err := MakeAll(filepath.Join(dir, path), 0o700); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", path, err, want)
		}
	}
}
