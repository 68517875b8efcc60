package process

import "golang.org/x/sys/unix"

// Can reports whether the calling thread has a capability (unix.CAP_…) in its own user namespace.
func Can(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil &&
		data[capability/32].Effective&(1<<(capability%32)) != 0
}

// LookDenied says why the kernel may refuse to show the descriptors and namespaces of another
// process (ptrace(2), access mode PTRACE_MODE_READ). Root has what it takes, but often not in a
// container.
func LookDenied() string {
	if Can(unix.CAP_SYS_PTRACE) {
		return "another user namespace owns it, or a security module guards it"
	}
	return "this needs CAP_SYS_PTRACE"
}
