package process

import (
	"cmp"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Numbers lists the processes in a /proc, or the threads in a /proc/PID/task, in ascending order.
func Numbers(dir fs.FS, at string) ([]int, error) {
	entries, err := fs.ReadDir(dir, at)
	if err != nil {
		return nil, err
	}
	out := make([]int, 0, len(entries))
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, cmp.Compare[int])
	return out, nil
}

// Descriptors yields the open files of a process: the name under /proc ("7/fd/3"), and its target:
// a path, or a kind and inode ("socket:[4711]", "net:[4026531833]"). It skips descriptors that are
// closed meanwhile.
//
// The error is fs.ErrNotExist if the process has ended, and fs.ErrPermission if its directory may
// not be read.
func Descriptors(proc fs.FS, pid int) (iter.Seq2[string, string], error) {
	dir := path.Join(strconv.Itoa(pid), "fd")
	files, err := fs.ReadDir(proc, dir)
	if err != nil {
		return nil, err
	}
	return func(yield func(name, target string) bool) {
		for _, f := range files {
			name := dir + "/" + f.Name()
			if target, err := fs.ReadLink(proc, name); err == nil && !yield(name, target) {
				return
			}
		}
	}, nil
}

// Inode parses the target of a descriptor without a path (proc(5), /proc/PID/fd and /proc/PID/ns):
// "socket:[4711]" has the inode 4711 and the kind "socket". ok is false for other targets.
func Inode(target, kind string) (inode uint64, ok bool) {
	rest, isKind := strings.CutPrefix(target, kind+":[")
	number, closed := strings.CutSuffix(rest, "]")
	if !isKind || !closed {
		return 0, false
	}
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, err == nil
}
