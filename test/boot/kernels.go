package boot

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/portgrave/portgrave/test/debian"
	"github.com/portgrave/portgrave/test/lab"
)

// testInit is the first process of a machine that only runs a test program. It prints the status at
// the end.
const testInit = `#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
ip link set lo up
sysctl -q -w kernel.printk=1
cd /usr/local/lib/test
./e2e.test -test.v -test.parallel 1 -test.timeout 10m -test.run "$(cat pattern)" </dev/null 2>&1
echo "test: done $?"
sync
echo o >/proc/sysrq-trigger
sleep 60
`

// testDiskSize is the size of that machine's disk.
const testDiskSize = "900M"

// writeTestImage makes a disk in a file: Debian with the modules of every kernel, and a test
// program that testInit runs.
func writeTestImage(t lab.TB, file, scratch, program string) {
	t.Helper()
	root := filepath.Join(scratch, "test-root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	debian.Unpack(t, root)
	to := filepath.Join(root, "usr/lib/modules")
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	for _, series := range debian.Series {
		_, modules, busybox := debian.KernelOf(t, series)
		// Only network modules, unpacked: unpacking in an emulator would take longer than the rest.
		run(t, "sh", "-euc", `cd "$0"/lib/modules; v=$(ls); mkdir "$1/$v"
			cp "$v"/modules.* "$1/$v"
			cp -a --parents "$v"/kernel/net "$v"/kernel/lib "$v"/kernel/crypto "$v"/kernel/drivers/net/*.ko* "$1"
			find "$1/$v" -name '*.ko.xz' -exec "$2" unxz {} +
			chroot "$3" depmod "$v"`, modules, to, busybox, root)
	}
	folder := filepath.Join(root, "usr/local/lib/test")
	run(t, "mkdir", "-p", folder)
	run(t, "cp", program, folder)
	initd := filepath.Join(root, "usr/sbin/init")
	_ = os.Remove(initd)
	if err := os.WriteFile(initd, []byte(testInit), 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	run(t, "mke2fs", "-q", "-t", "ext4", "-d", root, file, testDiskSize)
	if err := os.RemoveAll(root); err != nil {
		t.Fatalf("%v", err)
	}
}

// output returns everything that the machine has written so far.
func (m *machine) output() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	for _, l := range m.lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}
