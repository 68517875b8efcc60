// Package systemd holds the unit files of portgrave, as systemd reads them, and what a program must know of them.
//
// The files are embedded in the binary, so that a host without packages can be set up by portgrave install, and
// packages are built from the same bytes. What each unit may do, and why, is explained in the unit itself. How the daemon talks to systemd
// is package notify; putting the files in place is package installer. This package never touches a host.
package systemd

import (
	"embed"
	"fmt"
	"strings"
)

// Program is where the units expect the binary.
const Program = "/usr/bin/portgrave"

// User is who the daemon runs as; the group has the same name, and its members may read from the control socket.
const User = "portgrave"

//go:embed *.service *.timer portgrave.sysusers portgrave.tmpfiles iptables.conf network.conf containers.conf
var files embed.FS

// Units are the names of the unit files: what goes to a folder of units.
var Units = []string{"portgrave-boot.service", "portgrave.service", "portgrave-audit.service", "portgrave-audit.timer"}

// Enabled are the units that are enabled when portgrave is installed, in the order in which they start.
var Enabled = []string{"portgrave-boot.service", "portgrave.service", "portgrave-audit.timer"}

// DropIns are the names of the files that widen portgrave.service for policies that want more; nobody gets them unasked.
var DropIns = []string{"iptables.conf", "network.conf", "containers.conf"}

// File is an embedded file, which must exist.
func File(name string) []byte {
	content, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("no file %s is embedded in package systemd", name)) // a mistake of ours, found by any test
	}
	return content
}

// For is a file for a program that stands elsewhere than at Program.
func For(name, program string) []byte {
	return []byte(strings.ReplaceAll(string(File(name)), "="+Program+" ", "="+program+" "))
}

// Settings reads the values of a key in a section of unit files that are read one after the other, a drop-in after its unit, as systemd.syntax(7)
// has it: an assignment of nothing takes back those before. Lines that go on in the next one are not used in our files, and not understood.
func Settings(section, key string, units ...[]byte) (values []string) {
	for _, unit := range units {
		in := ""
		for line := range strings.Lines(string(unit)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[") {
				in = strings.Trim(line, "[]")
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if !ok || in != section || name != key {
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
