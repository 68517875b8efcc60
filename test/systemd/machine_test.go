// Package systemd holds the tests of the units under a real systemd: whole boots of a Debian root in a container, in
// which systemd is the first process and the network is that of a lab world's host, so that real packets judge when rules are in force.
//
// A disk is a root file system that can be written to: the units and a policy are put on it before it is booted. A machine is
// one boot of it. systemd-nspawn makes the container, without a daemon of the machine having a part in it; what the test does
// inside, it does through the namespaces of the container's first process.
//
// How it stays harmless: TestMain starts the test program once more in a mount namespace of its own, so nothing is mounted on the machine and
// nothing stays mounted when the program ends. The network of a container is a namespace of the lab, its processes end with the first of
// them, and that ends with the test program. Only its control groups are the machine's: they have a name of their own, and are removed.
//
// Each claim stands beside a control: the same boot with the one thing changed that the claim rests on, in which the same
// observation must come out otherwise.
package systemd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// scratch is a file system in memory for disks, which ends with the test program.
var scratch string

// inside marks the second start of the test program.
const inside = "PORTGRAVE_TEST_MOUNTS"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // each test says why it is skipped
	}
	if os.Getenv(inside) == "" {
		fmt.Fprintln(os.Stderr, again())
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "portgrave-systemd-")
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755")
	}
	if err == nil { // systemd-nspawn leaves folders in it
		err = unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a place for the tests:", err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	_ = unix.Unmount(dir, unix.MNT_DETACH)
	_ = os.Remove(dir)
	os.Exit(code)
}

// again replaces this process by the same program in a mount namespace of its own. It returns only if that fails.
func again() error {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"unshare", "--mount", "--propagation", "private", self}, os.Args[1:]...)
	return fmt.Errorf("starting unshare: %w", syscall.Exec(unshare, args, append(os.Environ(), inside+"=private")))
}

// top is the folder of the whole project.
func top() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// program is portgrave as it is packaged: static. It is built once for all tests.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "portgrave")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/portgrave")
	cmd.Dir, cmd.Env = top(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building portgrave: %w: %s", err, out)
	}
	return path, nil
})

// hierarchies are the folders below which control groups are made: those of systemd's own hierarchy and of the second version, where
// a machine has both, else the only one.
func hierarchies() (found []string) {
	for _, d := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(d, "cgroup.procs")); err == nil {
			found = append(found, d)
		}
	}
	if found == nil {
		found = []string{"/sys/fs/cgroup"}
	}
	return found
}

// removeGroups removes the control groups of that name with all below. What still runs in them is killed.
func removeGroups(name string) (err error) {
	for _, h := range hierarchies() {
		top, folders := filepath.Join(h, name), []string{}
		err = errors.Join(err, filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				folders = append(folders, path)
			}
			return nil // a folder that is gone is what is wanted
		}))
		for i := len(folders) - 1; i >= 0; i-- {
			procs, _ := os.ReadFile(filepath.Join(folders[i], "cgroup.procs"))
			for _, pid := range strings.Fields(string(procs)) {
				kill(pid)
			}
			if e := os.Remove(folders[i]); e != nil && !os.IsNotExist(e) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

func kill(pid string) {
	var n int
	if _, err := fmt.Sscan(pid, &n); err == nil && n > 1 {
		_ = unix.Kill(n, unix.SIGKILL)
	}
}
