package process

import "strings"

// Container is the container that a process runs in, according to the name of its control group.
// The zero value is no container.
type Container struct {
	ID string // 64 hexadecimal digits, or the name of an lxc or nspawn container
	// Runtime is "docker", "containerd", "podman", "cri-o", "lxc" or "nspawn". It is "kubepods" for
	// an unknown runtime of Kubernetes, and "" for other unknown runtimes.
	Runtime string
	Pod     string // UID of the Kubernetes pod, with dashes
}

// String returns, for example, "docker 0123456789ab"; "" for no container.
func (c Container) String() string {
	id := c.ID
	if isID(id) {
		id = id[:12] // as the runtimes list it
	}
	if c.Runtime == "" || id == "" {
		return c.Runtime + id
	}
	return c.Runtime + " " + id
}

// idPrefixes are the prefixes in names of control groups before a container's ID. The name is
// PREFIX-ID.scope if systemd makes the group (systemd cgroup driver), PREFIX-ID if the runtime
// does, and SLICE:PREFIX:ID if containerd's CRI passes systemd's form to a runtime that makes it
// itself.
var idPrefixes = []struct{ prefix, runtime string }{
	{"docker", "docker"},
	{"cri-containerd", "containerd"},
	{"nerdctl", "containerd"},
	{"containerd", "containerd"},
	{"crio", "cri-o"},
	{"libpod", "podman"},
}

// parentRuntimes maps the path element above a bare ID to the runtime (cgroupfs driver).
var parentRuntimes = map[string]string{"docker": "docker", "ecs": "docker"}

// containerOf returns the outermost container in /proc/PID/cgroup. The monitors that runtimes run
// beside a container (conmon, lxc's) are in no container.
func containerOf(cgroup string) Container {
	for _, path := range hierarchies(cgroup) {
		if c := containerIn(path); c != (Container{}) {
			return c
		}
	}
	return Container{}
}

func containerIn(path string) Container {
	var pod, above string
	kubepods := false
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range parts {
		// The form with colons has the slice in the same path element.
		if slice, rest, ok := strings.Cut(part, ":"); ok && strings.HasSuffix(slice, ".slice") {
			kubepods, pod = kubepods || strings.HasPrefix(slice, "kubepods"), podOf(slice, pod)
			part = strings.Replace(rest, ":", "-", 1)
		}
		if name, runtime, ok := namedContainer(part, parts[i+1:]); ok {
			return Container{ID: name, Runtime: runtime}
		}
		if id, runtime, ok := prefixedContainer(part); ok {
			return Container{ID: id, Runtime: runtime, Pod: pod}
		}
		if isID(part) {
			runtime := parentRuntimes[above]
			if kubepods {
				runtime = "kubepods"
			}
			return Container{ID: part, Runtime: runtime, Pod: pod}
		}
		kubepods = kubepods || strings.HasPrefix(part, "kubepods")
		if kubepods {
			pod = podOf(part, pod)
		}
		if !strings.HasPrefix(part, "pod") && above != "ecs" { // /ecs/TASK/ID
			above = part
		}
	}
	return Container{}
}

// prefixedContainer reads PREFIX-ID or PREFIX-ID.scope.
func prefixedContainer(part string) (id, runtime string, ok bool) {
	part = strings.TrimSuffix(part, ".scope")
	for _, s := range idPrefixes {
		if id, ok := strings.CutPrefix(part, s.prefix+"-"); ok && isID(id) {
			return id, s.runtime, true
		}
	}
	return "", "", false
}

// namedContainer reads control groups of containers that have names: lxc's "lxc.payload.NAME" (4.0
// and later), "lxc.payload/NAME" and "lxc/NAME" (before), nspawn's
// "systemd-nspawn@NAME.service/payload", and "machine-NAME.scope" for containers not started as a
// service. "machine-qemu…" is a virtual machine.
func namedContainer(part string, below []string) (name, runtime string, ok bool) {
	switch {
	case strings.HasPrefix(part, "lxc.payload."):
		return strings.TrimPrefix(part, "lxc.payload."), "lxc", true
	case (part == "lxc.payload" || part == "lxc") && len(below) > 0:
		return below[0], "lxc", true
	case strings.HasPrefix(part, "systemd-nspawn@") && strings.HasSuffix(part, ".service") &&
		len(below) > 0 && below[0] == "payload":
		name := strings.TrimSuffix(strings.TrimPrefix(part, "systemd-nspawn@"), ".service")
		return unescape(name), "nspawn", true
	case strings.HasPrefix(part, "machine-") && strings.HasSuffix(part, ".scope"):
		name := unescape(strings.TrimSuffix(strings.TrimPrefix(part, "machine-"), ".scope"))
		if strings.HasPrefix(name, "qemu-") || len(below) > 0 && below[0] == "supervisor" {
			return "", "", false
		}
		return name, "nspawn", true
	}
	return "", "", false
}

// podOf returns the pod's UID in "podUID" or in "kubepods-burstable-podUID.slice", where systemd
// requires underscores instead of dashes. It returns known if part has no UID.
func podOf(part, known string) string {
	part = strings.TrimSuffix(part, ".slice")
	at := strings.LastIndex(part, "pod")
	if at < 0 || at > 0 && part[at-1] != '-' || len(part) == at+len("pod") {
		return known
	}
	return strings.ReplaceAll(part[at+len("pod"):], "_", "-")
}

// unescape reverses the escaping of names in systemd units (systemd.unit(5)): "\x2d" is "-".
func unescape(name string) string { return strings.ReplaceAll(name, `\x2d`, "-") }

// isID reports whether a name is 64 lower-case hexadecimal digits, the ID that docker, containerd,
// podman and CRI-O generate.
func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
