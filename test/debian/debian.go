// Package debian hands tests a Debian system of their own, in a folder: systemd and what it needs,
// nftables, iptables and ipset, out of Debian's packages. They start it in a container or in a
// virtual machine.
//
// build.sh makes it once, into bin/debian ("make deps" runs it); Unpack makes a copy that the test
// may change, Package installs a .deb in a copy as apt would, Kernel is what a virtual machine
// starts. The package never starts anything, and writes nowhere but in the folders that it is
// given.
package debian

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/portgrave/portgrave/test/lab"
)

// folder is where build.sh has put it.
func folder(t lab.TB) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Join(filepath.Dir(file), "..", "..", "bin", "debian")
	if _, err := os.Stat(filepath.Join(dir, "recipe")); err != nil {
		t.Fatalf("there is no Debian system to start: run make deps (%v)", err)
	}
	return dir
}

// Unpack puts the root file system into dir.
func Unpack(t lab.TB, dir string) {
	t.Helper()
	must(
		t,
		exec.Command("tar", "-C", dir, "--numeric-owner", "-xpf", filepath.Join(folder(t), "root.tar")),
	)
}

// Package installs .deb files in the root file system at dir. Their scripts run in it, and start
// nothing, since systemctl sees that it is in a chroot.
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

// Kernel is the newest kernel for virtual machines: its image, the folder that holds its modules
// below lib/modules, and a static busybox to start it with.
func Kernel(t lab.TB) (image, modules, busybox string) {
	t.Helper()
	dir := folder(t)
	return filepath.Join(
			dir,
			"kernel/vmlinuz",
		), filepath.Join(
			dir,
			"kernel",
		), filepath.Join(
			dir,
			"busybox",
		)
}

// Series are the kernels that KernelOf has: those that Debian 12 came with and came to.
var Series = []string{"6.1", "6.12"}

// KernelOf is the kernel of a series, as Kernel is the newest.
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
