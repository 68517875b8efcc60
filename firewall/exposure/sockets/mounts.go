package sockets

import (
	"path"
	"strings"

	"github.com/portgrave/portgrave/firewall/process"
)

// mount is a network namespace that a mount keeps alive, whether or not a process lives in it.
type mount struct {
	inode uint64
	path  string // where it is mounted, absolute
}

// name is what "ip netns" and container engines call it: the last part of the path.
func (m mount) name() string { return path.Base(m.path) }

// namespaceMounts finds the network namespaces in /proc/PID/mountinfo (proc(5)). A line is: number,
// parent, device, root within the file system, mount point, options, optional fields up to a "-",
// type of file system, source, its options. A namespace's file system is nsfs and its root
// "net:[INODE]".
func namespaceMounts(mountinfo string) []mount {
	var out []mount
	for line := range strings.Lines(mountinfo) {
		front, back, ok := strings.Cut(line, " - ")
		fields := strings.Fields(front)
		if !ok || len(fields) < 5 || !strings.HasPrefix(back, "nsfs ") {
			continue
		}
		if inode, ok := process.Inode(fields[3], "net"); ok {
			out = append(out, mount{inode, unescape.Replace(fields[4])})
		}
	}
	return out
}

// unescape undoes the kernel's octal escapes (fs/proc_namespace.c, show_mountinfo mangles "
// \t\n\\").
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
