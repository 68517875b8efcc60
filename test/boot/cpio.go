package boot

import (
	"bytes"
	"fmt"
)

// archive is a cpio archive in the format that the kernel unpacks as an initrd ("newc", see
// Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	bytes.Buffer
	inodes int
}

// Types of files (stat.h).
const (
	directory  = 0o040755
	program    = 0o100755
	character  = 0o020600
	endOfFiles = "TRAILER!!!"
)

// add adds a file. major and minor are for devices.
func (a *archive) add(name string, mode int, content []byte, major, minor int) {
	a.inodes++
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inodes, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	a.WriteString(name)
	a.pad(1)
	a.Write(content)
	a.pad(0)
}

// pad writes at least so many zeros, until the length is a multiple of four.
func (a *archive) pad(least int) {
	for range least {
		a.WriteByte(0)
	}
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}

func (a *archive) dir(name string) { a.add(name, directory, nil, 0, 0) }

func (a *archive) file(name string, content []byte) { a.add(name, program, content, 0, 0) }

func (a *archive) device(name string, major, minor int) {
	a.add(name, character, nil, major, minor)
}

func (a *archive) end() []byte {
	a.add(endOfFiles, 0, nil, 0, 0)
	return a.Bytes()
}
