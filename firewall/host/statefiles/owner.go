package statefiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Write makes a file whole or not at all, readable for the owner of its folder alone.
func Write(path string, content Content) error { return write(path, 0o600, content) }

// WriteForAll is Write for a file that everybody may read.
func WriteForAll(path string, content Content) error { return write(path, 0o644, content) }

func write(path string, mode fs.FileMode, content Content) error {
	in, err := openFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer in.close()
	in.clean()
	file, name, err := in.temporary(filepath.Base(path))
	if err != nil {
		return err
	}
	err = errors.Join(file.Chmod(mode), in.adopt(file)) // whatever the umask is
	if err == nil {
		err = content(file)
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = in.rename(name, filepath.Base(path))
	}
	if err != nil {
		return errors.Join(err, in.remove(name), file.Close())
	}
	return file.Close() // and not before: while it is open, it is locked
}

// Read reads a file that Write made.
func Read(path string) ([]byte, error) { return At(filepath.Dir(path)).Read(filepath.Base(path)) }

// OpenToRead opens a file that is better not read at once. It follows no link, and waits for no
// FIFO.
func OpenToRead(path string) (*os.File, error) {
	in, err := openFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer in.close()
	return in.openRegular(filepath.Base(path), os.O_RDONLY, 0)
}

// Open opens a file that is not replaced, such as a lock or a log, and makes it if it is missing.
// It follows no link, and waits for no FIFO.
func Open(path string, flags int) (*os.File, error) {
	in, err := openFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer in.close()
	name := filepath.Base(path)
	for range 3 { // another process may make or remove it in between
		f, err := in.openRegular(name, flags, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		f, err = in.openRegular(name, flags|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			if err = in.adopt(f); err != nil {
				return nil, errors.Join(err, f.Close())
			}
		}
		return f, err
	}
	return nil, fmt.Errorf("%s is made and removed again and again by another process", path)
}

// Rename gives a file another name in its folder.
func Rename(path, name string) error {
	in, err := openFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer in.close()
	return in.rename(filepath.Base(path), name)
}

// MakeAll makes a folder with those above it, to stay. Each belongs to the owner of the one above.
func MakeAll(path string, mode fs.FileMode) error {
	there, err := openFolder(path)
	if err == nil {
		there.close()
		return nil
	}
	above := filepath.Dir(path)
	if !errors.Is(err, fs.ErrNotExist) || above == path {
		return err
	}
	if err := MakeAll(above, mode); err != nil {
		return err
	}
	in, err := openFolder(above)
	if err != nil {
		return err
	}
	defer in.close()
	name := filepath.Base(path)
	if err := unix.Mkdirat(in.fd, name, uint32(mode.Perm())); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return in.fail("mkdir", name, err)
	}
	fd, err := openat(in.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return in.fail("open", name, err)
	}
	made := os.NewFile(uintptr(fd), path)
	return errors.Join(in.adopt(made), made.Close(), in.sync())
}
