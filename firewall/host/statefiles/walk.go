package statefiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The folders belong to the daemon's user, and root's command line works in them too. So a name
// there may be anything that this user, or an attacker who took the daemon over, has put: a link to
// a file of root's, a FIFO that nobody writes to, another user's file under a second name.
// Everything below goes from folder to folder by descriptor, and looks at what it has opened rather
// than at a path.

var (
	// ErrLink: root does not follow a link that another user may have put there, and nobody follows
	// one in place of a file.
	ErrLink = errors.New("it is a link, which is not followed here")
	// ErrIrregular: a FIFO, a device, a folder: reading one could take for ever.
	ErrIrregular = errors.New("it is not a regular file: move it away")
	// ErrSecondName: a file of somebody else's has a second name here.
	ErrSecondName = errors.New("it is another name of somebody else's file: remove it")
)

// maxLinks is how many links lead to a folder at most, as in the kernel (path_resolution(7)).
const maxLinks = 40

// folder is an open folder.
type folder struct {
	fd   int // O_PATH: a place, which can't be read
	path string
}

func (f folder) close() { _ = unix.Close(f.fd) }

func (f folder) fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: filepath.Join(f.path, name), Err: err}
}

// openFolder goes to a folder.
func openFolder(path string) (folder, error) {
	const place = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	f := folder{path: path}
	start := func(at string) (err error) {
		f.fd, err = openat(unix.AT_FDCWD, at, place, 0)
		return err
	}
	from := "."
	if filepath.IsAbs(path) {
		from = "/"
	}
	if err := start(from); err != nil {
		return f, f.fail("open", "", err)
	}
	names := strings.Split(path, "/")
	for links := 0; len(names) > 0; {
		name := names[0]
		names = names[1:]
		if name == "" || name == "." {
			continue
		}
		next, err := openat(f.fd, name, place, 0)
		if err == nil {
			f.close()
			f.fd = next
			continue
		}
		target, isLink := readLink(f.fd, name)
		if isLink {
			links++
			err = mayFollow(f.fd, name)
		}
		if isLink && links > maxLinks {
			err = unix.ELOOP
		}
		if err == nil && filepath.IsAbs(target) {
			f.close()
			if err = start("/"); err != nil {
				return f, f.fail("open", "", err)
			}
		}
		if err != nil {
			f.close()
			return f, f.fail("open", "", err)
		}
		names = append(strings.Split(target, "/"), names...)
	}
	return f, nil
}

// readLink is where a link leads; false if a name is none.
func readLink(dir int, name string) (target string, ok bool) {
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, b)
	return string(b[:max(n, 0)]), err == nil
}

// mayFollow reports, by an error, a link that root must not follow. Those of root's own folders
// lead where the administrator wants.
func mayFollow(dir int, name string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var in, link unix.Stat_t
	if err := unix.Fstat(dir, &in); err != nil {
		return err
	}
	if err := unix.Fstatat(dir, name, &link, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	shared := in.Mode&0o022 != 0 // as /tmp is, where only the owner can replace what is there
	if in.Uid != 0 || shared && (in.Mode&unix.S_ISVTX == 0 || link.Uid != 0) {
		return ErrLink
	}
	return nil
}

// openRegular opens a file of the folder; one that is to be made must not be there.
func (f folder) openRegular(name string, flags int, mode fs.FileMode) (*os.File, error) {
	// Without O_NONBLOCK a FIFO is waited for until somebody opens its other end (fifo(7)).
	flags |= unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := openat(f.fd, name, flags, uint32(mode.Perm()))
	switch {
	case errors.Is(err, unix.ELOOP):
		err = ErrLink
	case errors.Is(err, unix.ENXIO): // a FIFO that nobody reads from, or a socket
		err = ErrIrregular
	}
	if err != nil {
		return nil, f.fail("open", name, err)
	}
	if err := f.check(fd, flags); err != nil {
		_ = unix.Close(fd)
		return nil, f.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(f.path, name)), nil
}

// check looks at what was opened, and makes it block as files do.
func (f folder) check(fd, flags int) error {
	var file, in unix.Stat_t
	err := unix.Fstat(fd, &file)
	if err == nil {
		err = unix.Fstat(f.fd, &in)
	}
	switch {
	case err != nil:
		return err
	case file.Mode&unix.S_IFMT != unix.S_IFREG:
		return ErrIrregular
	case flags&(unix.O_WRONLY|unix.O_RDWR) != 0 && file.Nlink > 1 && file.Uid != in.Uid:
		return ErrSecondName
	}
	return unix.SetNonblock(fd, false)
}

// read opens the folder itself, to be read or synced.
func (f folder) read() (*os.File, error) {
	fd, err := openat(f.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, f.fail("open", "", err)
	}
	return os.NewFile(uintptr(fd), f.path), nil
}

// list returns the entries, ordered by name.
func (f folder) list() ([]fs.DirEntry, error) {
	dir, err := f.read()
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	entries, err := dir.ReadDir(-1)
	slices.SortFunc(
		entries,
		func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) },
	)
	return entries, err
}

func (f folder) sync() error {
	dir, err := f.read()
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (f folder) remove(name string) error {
	if err := unix.Unlinkat(f.fd, name, 0); err != nil {
		return f.fail("remove", name, err)
	}
	return nil
}

func (f folder) rename(from, to string) error {
	if err := unix.Renameat(f.fd, from, f.fd, to); err != nil {
		return f.fail("rename", from, err)
	}
	return nil
}

// adopt makes what root has just made in the folder its owner's: else the next daemon could not
// write it. Only what stands open is given away, never what a name leads to.
func (f folder) adopt(made *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var in unix.Stat_t
	if err := unix.Fstat(f.fd, &in); err != nil {
		return f.fail("stat", "", err)
	}
	if in.Uid == 0 {
		return nil
	}
	if err := made.Chown(int(in.Uid), int(in.Gid)); err != nil {
		return fmt.Errorf("giving it to the owner of its folder: %w", err)
	}
	return nil
}

// openat is openat(2), again if a signal comes.
func openat(dir int, name string, flags int, mode uint32) (fd int, err error) {
	for {
		if fd, err = unix.Openat(dir, name, flags, mode); !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}
