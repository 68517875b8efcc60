package connections

import (
	"context"

	"github.com/portgrave/portgrave/firewall/process"
)

// owners finds the process names behind socket inodes in one pass over /proc. Of several
// processes that hold a socket the one with the lowest number counts: the server, not
// what it started. Processes that may not be read or have just ended are left out.
func owners(ctx context.Context, from process.Reader, wanted map[uint32]bool) map[uint32]string {
	out := map[uint32]string{}
	pids, err := process.Numbers(from.Proc, ".")
	if err != nil {
		return out
	}
	for _, pid := range pids {
		if len(out) == len(wanted) || ctx.Err() != nil {
			break
		}
		held, err := process.Descriptors(from.Proc, pid)
		if err != nil {
			continue
		}
		name := ""
		for _, target := range held {
			inode, ok := process.Inode(target, "socket")
			socket := uint32(inode) // sock_diag has no more of it
			if !ok || !wanted[socket] || out[socket] != "" {
				continue
			}
			if name == "" {
				if name = from.Name(pid); name == "" {
					break
				}
			}
			out[socket] = name
		}
	}
	return out
}
