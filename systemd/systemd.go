// Package systemd holds the unit files of portgrave, and what the program must know about them.
//
// The files are embedded in the binary, so that portgrave install can set up a host without
// packages. Packages are built from the same files. Each unit explains what it may do, and why.
// Package notify communicates with systemd, and package installer installs the files. This package
// never touches a host.
package systemd

import (
	"embed"
	"fmt"
	"strings"
)

// Program is where the units expect the binary.
const Program = "/usr/bin/portgrave"

// User is the user that the daemon runs as. Members of the group with the same name may read from
// the control socket.
const User = "portgrave"

//go:embed *.service *.timer portgrave.sysusers portgrave.tmpfiles
//go:embed iptables.conf network.conf containers.conf realtime.conf
var files embed.FS

// Units are the names of the unit files.
var Units = []string{"portgrave-boot.service", "portgrave.service", "portgrave-audit.service",
	"portgrave-audit.timer"}

// Enabled are the units that installing enables, in the order in which they start.
var Enabled = []string{"portgrave-boot.service", "portgrave.service", "portgrave-audit.timer"}

// DropIns are the names of drop-ins that give portgrave.service more rights, for policies that need
// them. They are not installed by default.
var DropIns = []string{"iptables.conf", "network.conf", "containers.conf", "realtime.conf"}

// File returns an embedded file, and panics if it doesn't exist.
func File(name string) []byte {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("no file %s is embedded in package systemd", name)) // any test finds this
	}
	return content
}

// For returns a file for a program that is not at Program.
func For(name, program string) []byte {
	return []byte(strings.ReplaceAll(string(File(name)), "="+Program+" ", "="+program+" "))
}

// Settings returns the values of a key in a section of unit files. The files are read in order, a
// drop-in after its unit. As in systemd.syntax(7), an empty assignment removes the earlier values.
// It doesn't support continued lines, which our files don't have.
func Settings(section, key string, units ...[]byte) (values []string) {
	for _, unit := range units {
		current := ""
		for line := range strings.Lines(string(unit)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[") {
				current = strings.Trim(line, "[]")
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if !ok || current != section || name != key {
				continue
			}
			if value == "" {
				values = nil
				continue
			}
			values = append(values, strings.Fields(value)...)
		}
	}
	return values
}
