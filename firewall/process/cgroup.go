package process

import (
	"iter"
	"strings"
)

// hierarchies yields the paths in /proc/PID/cgroup (cgroups(7)), which has
// "number:controllers:path" lines. It first yields the hierarchies that systemd manages, the
// unified one and its own, and then those of version 1 controllers.
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

// unitOf returns the systemd unit in /proc/PID/cgroup: the first service or scope in the path of a
// hierarchy that systemd manages. The unit itself may have named what is below.
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
