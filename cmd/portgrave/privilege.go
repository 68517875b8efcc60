package main

import (
	"github.com/portgrave/portgrave/firewall/process"
	"golang.org/x/sys/unix"
)

// mayChangeRules reports whether this process has CAP_NET_ADMIN, which is what the kernel asks for:
// root has it, and so has the daemon's own user in its unit.
func mayChangeRules() bool { return process.Can(unix.CAP_NET_ADMIN) }
