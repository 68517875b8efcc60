package statefiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// The daemon runs as a user of its own, and root's command line writes beside it. So what root makes in a folder belongs
// to the folder's owner: else the next daemon could not write it. Only what was just made, and stands open, is given away, never what a
// name leads to: the owner of the folder could have put a link there.

// Write makes a file whole or not at all, readable for the owner of its folder alone.
func Write(path string, content Content) error {
	dir := filepath.Dir(path)
	// The temporary file stands beside its target and begins with a dot, by which what a crash leaves of it is known.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }()
	if err := giveAway(f.File, dir); err != nil {
		return err
	}
	if err := content(f); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// Open opens a file that is not replaced, such as a lock or a log, and makes it if it is missing. It follows no link.
func Open(path string, flags int) (*os.File, error) {
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW
	for range 3 { // another process may make or remove it in between
		f, err := os.OpenFile(path, flags, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		f, err = os.OpenFile(path, flags|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			if err = giveAway(f, filepath.Dir(path)); err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
		return f, err
	}
	return nil, fmt.Errorf("%s is made and removed again and again by another process", path)
}

// MakeAll makes a folder with those above it, to stay. Each belongs to the owner of the one above.
func MakeAll(path string, mode fs.FileMode) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
		}
		return nil
	}
	above := filepath.Dir(path)
	if above != path {
		if err := MakeAll(above, mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, mode); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = giveAway(f, above)
	return errors.Join(err, f.Close(), syncFolder(above))
}

// giveAway makes a file, just made by root, its folder's owner's.
func giveAway(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return fmt.Errorf("giving it to the owner of its folder: %w", err)
		}
	}
	return nil
}
