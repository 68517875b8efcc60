package main

import "golang.org/x/sys/unix"

// mayChangeRules reports whether this process has CAP_NET_ADMIN, which is what the kernel asks for:
// root has it, and so has the daemon's own user in its unit.
func mayChangeRules() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}
