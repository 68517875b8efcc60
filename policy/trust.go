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

// Anyone who can write a policy file, or put another one in its place, can open every port. And
// another user must not choose what a name stands for: a symbolic link to a secret of root's would
// make us print it.

type unixStat = syscall.Stat_t

// trust says which folders on the path to a file are checked.
type trust int

const (
	// trustLinks checks the folders that hold symbolic links on the path, and those the links lead
	// to. The function that lists a policy folder checks that folder.
	trustLinks trust = iota
	// trustAll also checks the folder of the file.
	trustAll
)

// pathTrace is how a path leads to its file.
type pathTrace struct {
	// folders hold the names on which the path depends: those of each symbolic link and of the
	// file. If something is missing, the last one is the last existing folder.
	folders []string
	links   int
}

// maxLinks is the number of symbolic links that the kernel follows (MAXSYMLINKS).
const maxLinks = 40

// tracePath follows a path as the kernel does.
func tracePath(path string) (pathTrace, error) {
	var w pathTrace
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
		next := filepath.Join(at, name) // at has no links, so Join resolves ".." correctly
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

// trustedPath traces the path to a file and refuses it if another user may have put a name on it.
// It ignores missing files, because opening the file reports them.
func (r Files) trustedPath(path string, t trust) (pathTrace, error) {
	w, err := tracePath(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w, pathless{err}
	}
	if w.links == 0 && t == trustLinks {
		return w, nil
	}
	for _, dir := range w.folders {
		info, err := os.Stat(dir)
		if err != nil {
			return w, Problems{{File: dir, Message: withoutPath(err), fault: isFault(err)}}
		}
		if err := r.permit(dir, refuseForeignWriters(info, dir)); err != nil {
			return w, Problems{{File: dir, Message: err.Error()}}
		}
	}
	return w, nil
}

// refuseReplaceable refuses a folder in which any user may replace our files. The sticky bit (as on
// /tmp) prevents that.
func refuseReplaceable(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return pathless{err}
	}
	if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf(
			"everybody may write this folder, and so replace the policy in it; run: chmod o-w %s",
			dir,
		)
	}
	return nil
}

// refuseForeignWriters refuses what users other than root and the reader may change: anyone who can
// write the policy can open every port. A sticky folder (like /tmp) may be writable, since others
// can't replace our files in it; on a file the sticky bit means nothing.
func refuseForeignWriters(info fs.FileInfo, path string) error {
	if info.Mode().Perm()&0o022 != 0 && !(info.IsDir() && info.Mode()&fs.ModeSticky != 0) {
		return fmt.Errorf(
			"others than its owner may write it (mode %04o), so anybody could open ports; run: "+
				"chmod go-w %s",
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

// hardLinks returns how many names a file has.
func hardLinks(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*unixStat); ok {
		return uint64(stat.Nlink)
	}
	return 1
}
