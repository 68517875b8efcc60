// Package systemd tests the units under a real systemd. It boots a Debian root in a container, in
// which systemd is the first process and the network is that of a lab world's host. Real packets
// show when rules are in force.
//
// A disk is a writable root file system, on which the units and a policy are put before it is
// booted. A machine is one boot of it. systemd-nspawn makes the container without help from a
// daemon of the machine that runs the tests. Tests run commands inside through the namespaces of
// the container's first process.
//
// The tests are harmless to the machine. TestMain restarts the test program in a mount namespace of
// its own, so nothing stays mounted when the program ends. The network of a container is a
// namespace of the lab. Its processes end with the first of them, which ends with the test program.
// It shares only the machine's control groups: they have a name of their own, and are removed.
//
// Each claim has a control: the same boot without the thing that the claim depends on, for which
// the same observation must differ.
package systemd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/test/lab"
)

// scratch is a file system in memory for disks. It ends with the test program.
var scratch string

// insideVariable is set for the restarted test program.
const insideVariable = "PORTGRAVE_TEST_MOUNTS"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // the tests skip themselves
	}
	if os.Getenv(insideVariable) == "" {
		fmt.Fprintln(os.Stderr, restartInNamespace())
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "portgrave-systemd-")
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755")
	}
	if err == nil { // for the folders that systemd-nspawn creates
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

// restartInNamespace restarts this program in a mount namespace of its own. It returns only on
// failure.
func restartInNamespace() error {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"unshare", "--mount", "--propagation", "private", self}, os.Args[1:]...)
	return fmt.Errorf("starting unshare: %w",
		syscall.Exec(unshare, args, append(os.Environ(), insideVariable+"=private")))
}

// program is a static portgrave, as packages have it. It is built once for all tests.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(scratch, "portgrave")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/portgrave")
	cmd.Dir, cmd.Env = lab.ModuleFolder(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building portgrave: %w: %s", err, out)
	}
	return path, nil
})

// hierarchies returns the folders below which control groups are made: systemd's own hierarchy and
// version 2 if a machine has both, otherwise the only one.
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

// removeGroups removes the control groups with a name and everything below. It kills their
// processes.
func removeGroups(name string) (err error) {
	for _, h := range hierarchies() {
		top, folders := filepath.Join(h, name), []string{}
		err = errors.Join(err,
			filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					folders = append(folders, path)
				}
				return nil // it was removed meanwhile
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

// oneLine is text whose sentences are wrapped, in one line.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
