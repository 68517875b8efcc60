package process

import (
	"iter"
	"strings"
)

// hierarchies walks /proc/PID/cgroup (cgroups(7)), "number:controllers:path" a line: first those that systemd
// arranges, the unified hierarchy and its own; then those of the old controllers.
func hierarchies(cgroup string) iter.Seq2[bool, string] {
	return func(yield func(systemd bool, path string) bool) {
		for _, want := range []bool{true, false} {
			for line := range strings.Lines(cgroup) {
				_, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
				controllers, path, isLine := strings.Cut(rest, ":")
				if !ok || !isLine {
					continue
				}
				systemd := controllers == "" || controllers == "name=systemd"
				if systemd == want && !yield(systemd, path) {
					return
				}
			}
		}
	}
}

// unitOf finds the systemd unit in /proc/PID/cgroup: in the unified hierarchy or systemd's own, the first part
// of the path that is a service or scope. What comes below it, the unit itself has made and named.
func unitOf(cgroup string) string {
	for systemd, path := range hierarchies(cgroup) {
		if !systemd {
			break
		}
		for part := range strings.SplitSeq(path, "/") {
			if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
				return part
			}
		}
	}
	return ""
}
