package input

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/lease"
)

// DefaultServicesFile is where services(5) has the names of ports.
const DefaultServicesFile = "/etc/services"

// maxServicesFile bounds what is read of it; Debian's has 13 kB.
const maxServicesFile = 4 << 20

// servicesOf are the ports that services(5) has for a name or an alias; none if the file isn't
// there.
func servicesOf(path, name string) []firewall.PortRange {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return findService(io.LimitReader(f, maxServicesFile), name)
}

// findService reads the format of services(5): "name port/protocol [alias…] [# comment]".
func findService(text io.Reader, name string) (found []firewall.PortRange) {
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != name && !slices.Contains(words[2:], name) {
			continue
		}
		ranges, err := lease.ParsePorts(words[1])
		if err == nil && len(ranges) == 1 && ranges[0].Protocol.HasPorts() {
			found = append(found, ranges[0])
		}
	}
	return found
}
