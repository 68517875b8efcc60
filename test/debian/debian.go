// Package debian provides tests with a Debian system in a folder: systemd and its dependencies,
// nftables, iptables and ipset, from Debian's packages. Tests start it in a container or in a
// virtual machine.
//
// build.sh makes it once, in bin/debian ("make deps" runs it). Unpack makes a copy that a test may
// change, Package installs a .deb in a copy as apt would, and Kernel returns a kernel for a virtual
// machine. The package never starts anything, and writes only in the folders that it is given.
package debian

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/portgrave/portgrave/test/lab"
)

// folder is where build.sh has put the system.
func folder(t lab.TB) string {
	t.Helper()
	dir := filepath.Join(lab.ModuleFolder(), "bin", "debian")
	if _, err := os.Stat(filepath.Join(dir, "recipe")); err != nil {
		t.Fatalf("there is no Debian system to start: run make deps (%v)", err)
	}
	return dir
}

// Unpack unpacks the root file system into dir.
func Unpack(t lab.TB, dir string) {
	t.Helper()
	must(
		t,
		exec.Command("tar", "-C", dir, "--numeric-owner", "-xpf",
			filepath.Join(folder(t), "root.tar")),
	)
}

// Package installs .deb files in the root file system at dir. Their scripts run there and start
// nothing, because systemctl notices the chroot.
func Package(t lab.TB, dir string, debs ...string) {
	t.Helper()
	inside := []string{dir, "dpkg", "--install"}
	for _, deb := range debs {
		at := "/tmp/" + filepath.Base(deb)
		must(t, exec.Command("cp", deb, filepath.Join(dir, at)))
		inside = append(inside, at)
	}
	must(t, exec.Command("chroot", inside...))
	for _, at := range inside[3:] {
		if err := os.Remove(filepath.Join(dir, at)); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

// Kernel returns the newest kernel for virtual machines: its image, the folder that has
// lib/modules, and a static busybox for an initrd.
func Kernel(t lab.TB) (image, modules, busybox string) {
	t.Helper()
	dir := folder(t)
	kernel := filepath.Join(dir, "kernel")
	return filepath.Join(kernel, "vmlinuz"), kernel, filepath.Join(dir, "busybox")
}

// Series are the kernels of KernelOf: the first of Debian 12, and the one of its backports.
var Series = []string{"6.1", "6.12"}

// KernelOf is Kernel for a kernel series.
func KernelOf(t lab.TB, series string) (image, modules, busybox string) {
	t.Helper()
	dir := folder(t)
	kernel := filepath.Join(dir, "kernels", series)
	return filepath.Join(kernel, "vmlinuz"), kernel, filepath.Join(dir, "busybox")
}

// must runs a command, and ends the test if it fails.
func must(t lab.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", fmt.Sprint(cmd.Args), err, out)
	}
}
