package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/portgrave/portgrave/test/debian"
	"golang.org/x/sys/unix"
)

// disk is a root file system. It keeps what a boot writes, so booting it again is a reboot.
type disk struct {
	t    *testing.T
	root string // the merged tree of Debian and what was written
}

var unpacked struct {
	sync.Mutex
	dir string
}

// baseSystem returns the Debian that every disk starts from, unpacked once for all tests.
func baseSystem(t *testing.T) string {
	t.Helper()
	unpacked.Lock()
	defer unpacked.Unlock()
	if unpacked.dir == "" {
		dir := filepath.Join(scratch, "debian")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		debian.Unpack(t, dir)
		unpacked.dir = dir
	}
	return unpacked.dir
}

// blankDisk returns Debian without portgrave.
func blankDisk(t *testing.T) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: containers can't be made")
	}
	base := baseSystem(t)
	dir, err := os.MkdirTemp(scratch, "disk-")
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{t: t, root: filepath.Join(dir, "root")}
	for _, sub := range []string{"above", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// xino and index keep their defaults: nothing here needs stable inode numbers.
	if err := unix.Mount("overlay", d.root, "overlay", 0,
		"lowerdir="+base+",upperdir="+filepath.Join(dir, "above")+",workdir="+filepath.Join(dir,
			"work")); err != nil {
		t.Fatalf("mounting a disk: %v", err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(d.root, unix.MNT_DETACH)
		_ = os.RemoveAll(dir)
	})
	return d
}

// newDisk returns Debian with portgrave installed, and with a policy.
func newDisk(t *testing.T, policy string) *disk {
	t.Helper()
	d := blankDisk(t)
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "install", "--root", d.root).CombinedOutput(); err != nil {
		t.Fatalf("portgrave install --root: %v\n%s", err, out)
	}
	d.write("/etc/portgrave/policy.yaml", policy)
	return d
}

// write writes a file on the disk.
func (d *disk) write(path, content string) {
	d.t.Helper()
	at := filepath.Join(d.root, path)
	err := os.MkdirAll(filepath.Dir(at), 0o755)
	if err == nil {
		err = os.WriteFile(at+".new", []byte(content), 0o644)
	}
	if err == nil {
		err = os.Rename(at+".new", at)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// read returns a file of the disk; "" if there is none.
func (d *disk) read(path string) string {
	d.t.Helper()
	b, err := os.ReadFile(filepath.Join(d.root, path))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	return string(b)
}

// unit writes a unit to the disk. The units in wantedBy start it.
func (d *disk) unit(name, content string, wantedBy ...string) {
	d.t.Helper()
	d.write("/etc/systemd/system/"+name, content)
	for _, w := range wantedBy {
		d.enable(name, w)
	}
}

// enable makes another unit start a unit.
func (d *disk) enable(name, wantedBy string) {
	d.t.Helper()
	dir := filepath.Join(d.root, "/etc/systemd/system", wantedBy+".wants")
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.Symlink(filepath.Join("..", name), filepath.Join(dir, name))
	}
	if err != nil && !os.IsExist(err) {
		d.t.Fatal(err)
	}
}

// dropIn writes a drop-in for one of our units, as an administrator does.
func (d *disk) dropIn(unit, content string) {
	d.t.Helper()
	d.write("/etc/systemd/system/"+unit+".d/50-test.conf", content)
}

// chroot runs a program of the disk without booting it, and fails the test on an error.
func (d *disk) chroot(args ...string) string {
	d.t.Helper()
	out, err := exec.Command("chroot", append([]string{d.root}, args...)...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// withoutLine removes the line that begins with begin. The text must have it.
func withoutLine(t *testing.T, text, begin string) string {
	t.Helper()
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, begin) {
			kept = append(kept, line)
		}
	}
	if len(kept) == strings.Count(text, "\n")+1 {
		t.Fatalf("no line begins with %q in\n%s", begin, text)
	}
	return strings.Join(kept, "\n")
}
