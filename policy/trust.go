package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Who may change what the policy says: anyone who can write a file, or put another one in its
// place, can open every port. And what a name stands for must not be somebody else's choice: a link
// of his to a secret of root's would have us print it.

type unixStat = syscall.Stat_t

// trust is what is asked of the folders on the way to a file.
type trust int

const (
	// trustLinks asks it of those that hold links on the way, and where these lead. The others are
	// looked at by who lists them.
	trustLinks trust = iota
	// trustAll asks it of the folder of the file too.
	trustAll
)

// way is how a path leads to its file.
type way struct {
	// folders hold the names on which it depends: those of each symbolic link, and of the file.
	// Where the way ends early, because something is missing, the last folder that is there.
	folders []string
	links   int
}

// maxLinks is how many symbolic links the kernel follows (MAXSYMLINKS).
const maxLinks = 40

// wayTo follows a path as the kernel does.
func wayTo(path string) (way, error) {
	var w way
	at, rest := ".", strings.Split(path, "/")
	if filepath.IsAbs(path) {
		at = "/"
	}
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == "" || name == "." {
			continue
		}
		next := filepath.Join(at, name) // no link is in at, so ".." may be worked out
		info, err := os.Lstat(next)
		if err != nil {
			w.folders = append(w.folders, at)
			return w, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if last := !info.IsDir() && len(rest) == 0; last {
				w.folders = append(w.folders, at)
			}
			at = next
			continue
		}
		w.folders = append(w.folders, at)
		if w.links++; w.links > maxLinks {
			return w, syscall.ELOOP
		}
		target, err := os.Readlink(next)
		if err != nil {
			return w, err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return w, nil
}

// trusted is the way to a file, on which nobody else may have put a name. That something on it is
// missing is for who opens the file to say.
func (r Files) trusted(path string, t trust) (way, error) {
	w, err := wayTo(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w, errors.New(plain(err))
	}
	if w.links == 0 && t == trustLinks {
		return w, nil
	}
	for _, dir := range w.folders {
		info, err := os.Stat(dir)
		if err != nil {
			return w, Problems{{File: dir, Message: plain(err)}}
		}
		if err := r.permit(dir, owned(info, dir)); err != nil {
			return w, Problems{{File: dir, Message: err.Error()}}
		}
	}
	return w, nil
}

// replaceable refuses a folder in which anybody may put another file in the place of ours. The
// sticky bit (as on /tmp) prevents that.
func replaceable(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return errors.New(plain(err))
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf(
			"everybody may write this folder, and so replace the policy in it; run: chmod o-w %s",
			dir,
		)
	}
	return nil
}

// owned refuses what others than root and the reading user may change: anyone who can write the
// policy can open every port. A sticky folder (like /tmp) keeps others from replacing our files,
// so it may be writable; on a file the sticky bit means nothing.
func owned(info fs.FileInfo, path string) error {
	if info.Mode().Perm()&0o022 != 0 && !(info.IsDir() && info.Mode()&fs.ModeSticky != 0) {
		return fmt.Errorf(
			"others than its owner may write it (mode %04o), so anybody could open ports; run: chmod go-w %s",
			info.Mode().Perm(),
			path,
		)
	}
	if stat, ok := info.Sys().(*unixStat); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf(
			"it belongs to user %d, who could open ports with it; run: chown root %s",
			stat.Uid,
			path,
		)
	}
	return nil
}

// hardLinks is how many names a file has.
func hardLinks(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*unixStat); ok {
		return uint64(stat.Nlink)
	}
	return 1
}
