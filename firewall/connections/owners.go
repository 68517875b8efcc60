package connections

import (
	"cmp"
	"context"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// owners finds the process names behind socket inodes in one pass over /proc (proc is its root). Of several
// processes that hold a socket the one with the lowest number counts: the server, not
// what it started. Processes that may not be read or have just ended are left out.
func owners(ctx context.Context, proc fs.FS, wanted map[uint32]bool) map[uint32]string {
	out := map[uint32]string{}
	entries, err := fs.ReadDir(proc, ".")
	if err != nil {
		return out
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.SortFunc(pids, cmp.Compare[int])
	for _, pid := range pids {
		if len(out) == len(wanted) || ctx.Err() != nil {
			break
		}
		dir := strconv.Itoa(pid)
		files, err := fs.ReadDir(proc, path.Join(dir, "fd"))
		if err != nil {
			continue
		}
		name := ""
		for _, f := range files {
			target, err := fs.ReadLink(proc, path.Join(dir, "fd", f.Name()))
			number, isSocket := strings.CutPrefix(target, "socket:[")
			if err != nil || !isSocket {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
			if err != nil || !wanted[uint32(inode)] || out[uint32(inode)] != "" {
				continue
			}
			if name == "" {
				comm, err := fs.ReadFile(proc, path.Join(dir, "comm"))
				if err != nil {
					break
				}
				name = strings.TrimSuffix(string(comm), "\n")
			}
			out[uint32(inode)] = name
		}
	}
	return out
}
