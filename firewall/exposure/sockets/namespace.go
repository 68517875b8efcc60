package sockets

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall/process"
)

// Namespace is a network namespace.
type Namespace struct {
	Inode   uint64 // its identity, as in "net:[4026531833]"; 0 if even that can't be told
	Current bool   // the one that the reader itself runs in
	// that of process 1; false too if that can't be told, which then is in Snapshot.Unread
	Host bool
	// Name of the mount that keeps it: "blue" of /run/netns/blue, also of container engines
	// ("cni-…"); "" if none does.
	Name string
	// Container that its first process runs in; zero for none, or if nothing runs in it.
	Container process.Container
	// Neighbour: a link of the reader's namespace has its other end there, as a container's veth
	// does.
	Neighbour bool
	// Processes that live in it, at least one thread of theirs; 0 if only a mount or a descriptor
	// keeps it.
	Processes int
}

// String names it for people: "host", "blue", "docker 0123456789ab", or its inode.
func (n Namespace) String() string {
	switch {
	case n.Host:
		return "host"
	case n.Name != "":
		return n.Name
	case n.Container != process.Container{}:
		return n.Container.String()
	}
	return fmt.Sprintf("net:[%d]", n.Inode)
}
