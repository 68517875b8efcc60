package denied

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// interfaces caches the names of interfaces. The cache must be cleared because they can be renamed.
type interfaces struct {
	lookUp func(index uint32) (string, error)
	names  map[uint32]string
}

// maxInterfaces bounds the cache between two calls of forget.
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
		// The interface was deleted, for example a container's. Names of interfaces have no spaces
		// (dev_valid_name, net/core/dev.c), so this one is unambiguous.
		name = fmt.Sprintf("index %d", index)
	}
	if i.names == nil || len(i.names) >= maxInterfaces {
		i.names = map[uint32]string{}
	}
	i.names[index] = name
	return name
}

func (i *interfaces) forget() { clear(i.names) }

// interfaceName looks up an interface in the namespace of a socket, not of the calling thread.
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
