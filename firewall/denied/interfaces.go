package denied

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// interfaces remembers the names of interfaces until it is told to forget them, since they may be renamed.
type interfaces struct {
	lookUp func(index uint32) (string, error)
	names  map[uint32]string
}

// maxInterfaces bounds what is remembered between two calls of forget.
const maxInterfaces = 1024

func (i *interfaces) name(index uint32) string {
	if index == 0 {
		return ""
	}
	if name, ok := i.names[index]; ok {
		return name
	}
	name, err := i.lookUp(index)
	if err != nil {
		// It is gone, as a container's may be by now. No interface has a space in its name (dev_valid_name, net/core/dev.c).
		name = fmt.Sprintf("index %d", index)
	}
	if i.names == nil || len(i.names) >= maxInterfaces {
		i.names = map[uint32]string{}
	}
	i.names[index] = name
	return name
}

func (i *interfaces) forget() { clear(i.names) }

// interfaceName asks the namespace of a socket, of whatever kind, which need not be the calling thread's.
func interfaceName(fd int, index uint32) (string, error) {
	request, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	request.SetUint32(index)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, request); err != nil {
		return "", err
	}
	return request.Name(), nil
}
