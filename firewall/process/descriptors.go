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

// Descriptors lists what a process has open: the names under /proc that lead there ("7/fd/3"), and what the kernel
// calls it: a path, or a kind and inode ("socket:[4711]", "net:[4026531833]"). A descriptor that is closed meanwhile is left
// out.
//
// Errors are those of reading the directory: fs.ErrNotExist if the process has ended, fs.ErrPermission if it may not be looked
// into.
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

// Inode reads the inode out of what the kernel calls things without a path (proc(5), /proc/PID/fd and /proc/PID/ns):
// "socket:[4711]" of kind "socket".
func Inode(target, kind string) (uint64, bool) {
	rest, ok := strings.CutPrefix(target, kind+":[")
	number, closed := strings.CutSuffix(rest, "]")
	if !ok || !closed {
		return 0, false
	}
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, err == nil
}
