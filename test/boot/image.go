package boot

import (
	"embed"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/portgrave/portgrave/test/debian"
	"github.com/portgrave/portgrave/test/lab"
)

// addedFiles are the test's own files for the machine: the units of the package comment, and the
// policy.
//
//go:embed all:testdata/root
var addedFiles embed.FS

// diskSize is the size of the machine's disk. The file is sparse.
const diskSize = "600M"

// maskedUnits are units of Debian that only cost time and don't affect networks: user sessions, the
// console, and disk maintenance.
var maskedUnits = []string{
	"systemd-logind.service", "systemd-user-sessions.service", "getty.target",
	"e2scrub_reap.service",
	"systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
}

// writeImage makes the machine's disk in a file: Debian, its kernel's modules, our package, and the
// policy, applied and confirmed as on a host that was set up before its first reboot.
func writeImage(t lab.TB, file, scratch, deb string) {
	t.Helper()
	root := filepath.Join(scratch, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatalf("%v", err)
	}
	debian.Unpack(t, root)
	_, modules, busybox := debian.Kernel(t)
	run(t, "cp", "-a",
		filepath.Join(modules, "lib/modules"), filepath.Join(root, "usr/lib/modules"))
	// Unpacking xz in an emulated kernel would take longer than the rest of the boot.
	run(
		t,
		"sh",
		"-euc",
		`find "$0"/usr/lib/modules/*/kernel/net "$0"/usr/lib/modules/*/kernel/lib -name '*.ko.xz' -exec "$1" unxz {} +
		chroot "$0" depmod "$(ls "$0/usr/lib/modules")"`,
		root,
		busybox,
	)
	debian.Package(t, root, deb)
	addFiles(t, root)
	for unit, target := range map[string]string{
		"early.socket":  "sysinit.target",
		"nic.service":   "sysinit.target",
		"rules.service": "sysinit.target",
		"up.service":    "multi-user.target",
	} {
		wants := filepath.Join(root, "etc/systemd/system", target+".wants")
		if err := os.MkdirAll(wants, 0o755); err != nil {
			t.Fatalf("%v", err)
		}
		if err := os.Symlink("/etc/systemd/system/"+unit, filepath.Join(wants, unit)); err != nil {
			t.Fatalf("%v", err)
		}
	}
	for _, unit := range maskedUnits {
		if err := os.Symlink("/dev/null",
			filepath.Join(root, "etc/systemd/system", unit)); err != nil {
			t.Fatalf("%v", err)
		}
	}
	apply(t, root)
	run(t, "mke2fs", "-q", "-t", "ext4", "-d", root, file, diskSize)
	if err := os.RemoveAll(root); err != nil {
		t.Fatalf("%v", err)
	}
}

// addFiles copies testdata/root over the machine's files.
func addFiles(t lab.TB, root string) {
	t.Helper()
	files, err := fs.Sub(addedFiles, "testdata/root")
	if err == nil {
		err = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			to := filepath.Join(root, path)
			if d.IsDir() {
				return os.MkdirAll(to, 0o755)
			}
			content, err := fs.ReadFile(files, path)
			if err != nil {
				return err
			}
			return os.WriteFile(to, content, 0o644)
		})
	}
	if err != nil {
		t.Fatalf("adding the test's units to the machine: %v", err)
	}
}

// apply has portgrave apply the policy as generation 1, in the machine's files and a temporary
// network namespace.
func apply(t lab.TB, root string) {
	t.Helper()
	run(t, "unshare", "--net", "--mount", "--propagation=private", "sh", "-euc", `
		mount -t proc proc "$0/proc"
		mount -t tmpfs tmpfs "$0/run"
		exec chroot "$0" portgrave apply --reason "before the first start"`, root)
}

// run runs a program and ends the test if it fails.
func run(t lab.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
