package process

import (
	"strings"
	"testing"
)

func TestContainerOf(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	other := strings.Repeat("f", 64)
	const pod = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
	slice := "kubepods-burstable-pod" + strings.ReplaceAll(pod, "-", "_") + ".slice"
	for cgroup, want := range map[string]Container{
		// docker: systemd and cgroupfs drivers, cgroup versions 2 and 1, rootless, a custom parent
		"0::/system.slice/docker-" + id + ".scope\n": {ID: id, Runtime: "docker"},
		"0::/docker/" + id + "\n":                    {ID: id, Runtime: "docker"},
		"12:pids:/docker/" + id + "\n1:name=systemd:/docker/" + id + "\n0::/system.slice/containerd.service\n": {ID: id, Runtime: "docker"},
		"4:memory:/docker/" + id + "\n0::/\n":                                                 {ID: id, Runtime: "docker"},
		"0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id + ".scope": {ID: id, Runtime: "docker"},
		"0::/x/" + id: {ID: id},
		"7:cpu:/ecs/0123456789abcdef0123456789abcdef/" + id: {ID: id, Runtime: "docker"},
		// docker in docker: the outer container counts
		"0::/docker/" + id + "/docker/" + other: {ID: id, Runtime: "docker"},
		// podman, and its monitor, which is outside the container
		"0::/machine.slice/libpod-" + id + ".scope/container": {ID: id, Runtime: "podman"},
		"0::/libpod_parent/libpod-" + id:                      {ID: id, Runtime: "podman"},
		"0::/machine.slice/libpod-conmon-" + id + ".scope":    {},
		// containerd without Kubernetes
		"0::/system.slice/nerdctl-" + id + ".scope": {ID: id, Runtime: "containerd"},
		// Kubernetes
		"0::/kubepods.slice/kubepods-burstable.slice/" + slice + "/cri-containerd-" + id + ".scope": {ID: id, Runtime: "containerd", Pod: pod},
		"0::/kubepods.slice/kubepods-pod1_2.slice/crio-" + id + ".scope":                            {ID: id, Runtime: "cri-o", Pod: "1-2"},
		"0::/kubepods.slice/kubepods-pod1_2.slice/crio-conmon-" + id + ".scope":                     {},
		"0::/kubepods.slice/" + slice + "/docker-" + id + ".scope":                                  {ID: id, Runtime: "docker", Pod: pod},
		"11:memory:/kubepods/burstable/pod" + pod + "/" + id:                                        {ID: id, Runtime: "kubepods", Pod: pod},
		"11:memory:/kubepods/pod" + pod + "/" + id + "/init":                                        {ID: id, Runtime: "kubepods", Pod: pod},
		"11:memory:/system.slice/containerd.service/" + slice + ":cri-containerd:" + id:             {ID: id, Runtime: "containerd", Pod: pod},
		"0::/kubelet/kubepods/pod" + pod + "/" + id:                                                 {ID: id, Runtime: "kubepods", Pod: pod},
		// containers with names
		"0::/lxc.payload.web":                                              {ID: "web", Runtime: "lxc"},
		"0::/lxc.payload.web/system.slice/nginx.service":                   {ID: "web", Runtime: "lxc"},
		"0::/lxc.payload/web":                                              {ID: "web", Runtime: "lxc"},
		"9:cpu:/lxc/web\n1:name=systemd:/lxc/web/init.scope":               {ID: "web", Runtime: "lxc"},
		"0::/lxc/web/docker/" + id:                                         {ID: "web", Runtime: "lxc"},
		"0::/lxc.monitor.web":                                              {},
		"0::/lxc":                                                          {},
		`0::/machine.slice/systemd-nspawn@web\x2d1.service/payload/x`:      {ID: "web-1", Runtime: "nspawn"},
		`0::/machine.slice/systemd-nspawn@web.service/supervisor`:          {},
		`0::/machine.slice/machine-web\x2d1.scope/payload`:                 {ID: "web-1", Runtime: "nspawn"},
		`0::/machine.slice/machine-web.scope/supervisor`:                   {},
		`0::/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator`: {},
		// no container
		"":                                     {},
		"0::/":                                 {},
		"0::/system.slice/ssh.service":         {},
		"nonsense":                             {},
		"0::/docker/" + id[:63]:                {},
		"0::/docker/" + strings.ToUpper(other): {},
		"0::/system.slice/docker-" + id[:12] + ".scope":        {},
		"0::/:::/" + slice + ":/kubepods:cri-containerd:short": {},
	} {
		if got := containerOf(cgroup); got != want {
			t.Errorf("%q: got %+v, want %+v", cgroup, got, want)
		}
	}
}

func TestContainerString(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for want, c := range map[string]Container{
		"":                    {},
		"docker 0123456789ab": {ID: id, Runtime: "docker"},
		"0123456789ab":        {ID: id},
		"lxc web":             {ID: "web", Runtime: "lxc"},
	} {
		if got := c.String(); got != want {
			t.Errorf("%+v: got %q, want %q", c, got, want)
		}
	}
}

// FuzzCgroup checks that reading any control group never panics and only finds names in it.
func FuzzCgroup(f *testing.F) {
	f.Add("0::/system.slice/docker-" + strings.Repeat("0", 64) + ".scope\n")
	f.Add("1:name=systemd:/kubepods/podx/y\n0::/lxc/a/b")
	f.Add(`0::/machine-a\x2d.scope`)
	f.Fuzz(func(t *testing.T, cgroup string) {
		if unit := unitOf(cgroup); !strings.Contains(cgroup, unit) {
			t.Errorf("unit %q is not in the path", unit)
		}
		if c := containerOf(cgroup); !strings.Contains(unescape(cgroup), unescape(c.ID)) {
			t.Errorf("container %q is not in the path", c.ID)
		}
	})
}
