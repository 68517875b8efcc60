package process

import "strings"

// Container is the container that a process runs in, guessed from the name of its control group. The zero
// Container is none.
type Container struct {
	ID      string // 64 hexadecimal digits of docker and its kin, the name of an lxc or nspawn container
	Runtime string // "docker", "containerd", "podman", "cri-o", "lxc", "nspawn"; "kubepods": some runtime below Kubernetes; "": unknown
	Pod     string // of Kubernetes: the pod's UID with dashes
}

// String is "docker 0123456789ab"; "" for none.
func (c Container) String() string {
	id := c.ID
	if isID(id) {
		id = id[:12] // as the runtimes' own lists have it
	}
	if c.Runtime == "" || id == "" {
		return c.Runtime + id
	}
	return c.Runtime + " " + id
}

// scopes are the names that runtimes give to a container's control group: PREFIX-ID.scope where systemd makes it
// (the runtimes' systemd cgroup driver), PREFIX-ID where they do so themselves, and SLICE:PREFIX:ID where containerd's CRI
// hands systemd's form to a runtime that makes it itself.
var scopes = []struct{ prefix, runtime string }{
	{"docker", "docker"},
	{"cri-containerd", "containerd"},
	{"nerdctl", "containerd"},
	{"containerd", "containerd"},
	{"crio", "cri-o"},
	{"libpod", "podman"},
}

// parents are the parts of a path above a bare ID, where the runtime makes the control group itself (cgroupfs driver).
var parents = map[string]string{"docker": "docker", "ecs": "docker"}

// containerOf finds the container in /proc/PID/cgroup, the outermost one. Monitors that runtimes run beside a
// container (conmon, lxc's) are in none.
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
		// The colon form has its slice in the same part.
		if slice, rest, ok := strings.Cut(part, ":"); ok && strings.HasSuffix(slice, ".slice") {
			kubepods, pod = kubepods || strings.HasPrefix(slice, "kubepods"), podOf(slice, pod)
			part = strings.Replace(rest, ":", "-", 1)
		}
		if name, runtime, ok := named(part, parts[i+1:]); ok {
			return Container{ID: name, Runtime: runtime}
		}
		if id, runtime, ok := scoped(part); ok {
			return Container{ID: id, Runtime: runtime, Pod: pod}
		}
		if isID(part) {
			runtime := parents[above]
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

// scoped reads PREFIX-ID or PREFIX-ID.scope.
func scoped(part string) (id, runtime string, ok bool) {
	part = strings.TrimSuffix(part, ".scope")
	for _, s := range scopes {
		if id, ok := strings.CutPrefix(part, s.prefix+"-"); ok && isID(id) {
			return id, s.runtime, true
		}
	}
	return "", "", false
}

// named reads the control groups of containers that have names and not IDs: lxc's "lxc.payload.NAME" (4.0 and later),
// "lxc.payload/NAME" and "lxc/NAME" (before), nspawn's "systemd-nspawn@NAME.service/payload", and
// "machine-NAME.scope" for those that were not started as a service. A virtual machine's "machine-qemu…" is no container.
func named(part string, below []string) (name, runtime string, ok bool) {
	switch {
	case strings.HasPrefix(part, "lxc.payload."):
		return strings.TrimPrefix(part, "lxc.payload."), "lxc", true
	case (part == "lxc.payload" || part == "lxc") && len(below) > 0:
		return below[0], "lxc", true
	case strings.HasPrefix(part, "systemd-nspawn@") && strings.HasSuffix(part, ".service") && len(below) > 0 && below[0] == "payload":
		return unescape(strings.TrimSuffix(strings.TrimPrefix(part, "systemd-nspawn@"), ".service")), "nspawn", true
	case strings.HasPrefix(part, "machine-") && strings.HasSuffix(part, ".scope"):
		name := unescape(strings.TrimSuffix(strings.TrimPrefix(part, "machine-"), ".scope"))
		if strings.HasPrefix(name, "qemu-") || len(below) > 0 && below[0] == "supervisor" {
			return "", "", false
		}
		return name, "nspawn", true
	}
	return "", "", false
}

// podOf reads the pod's UID from "kubepods-burstable-podUID.slice", where systemd wants underscores for
// dashes, or "podUID"; what has none keeps the one known so far.
func podOf(part, known string) string {
	part = strings.TrimSuffix(part, ".slice")
	at := strings.LastIndex(part, "pod")
	if at < 0 || at > 0 && part[at-1] != '-' || len(part) == at+len("pod") {
		return known
	}
	return strings.ReplaceAll(part[at+len("pod"):], "_", "-")
}

// unescape undoes what systemd does to names in unit names (systemd.unit(5)): "\x2d" is "-".
func unescape(name string) string { return strings.ReplaceAll(name, `\x2d`, "-") }

// isID reports whether a name is 64 hexadecimal digits in lower case: SHA-256's length, which docker, containerd, podman and
// CRI-O all use for what they name by themselves.
func isID(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
