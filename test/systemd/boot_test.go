package systemd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
	"golang.org/x/sys/unix"
)

// awaitTimeout is how long anything expected may take. What takes a second on an idle machine may
// take ten on a busy one.
const awaitTimeout = 60 * time.Second

// machine is one boot of a disk, in the network of a lab world's host.
type machine struct {
	*disk
	*lab.World
	t       *testing.T // hides the T of the embedded types
	leader  int        // the first process, by its number outside of the container
	groups  string
	ended   chan struct{}
	console *output
}

// output collects what a program prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

var boots atomic.Int64

// maskedUnits are units of Debian that slow the boot and don't affect these tests.
var maskedUnits = []string{"systemd-logind.service", "systemd-update-utmp.service",
	"systemd-update-utmp-runlevel.service", "e2scrub_reap.service", "apt-daily.timer",
	"apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "getty.target"}

// boot boots the disk in a new world and waits until systemd has started everything.
func (d *disk) boot() *machine {
	d.t.Helper()
	m := d.powerOn(lab.New(d.t))
	m.waitBooted()
	return m
}

// powerOn boots the disk in the host of a world and returns when its systemd runs. A world can be
// used once, because rules outlive the container and would be there at the next boot.
func (d *disk) powerOn(w *lab.World) *machine {
	d.t.Helper()
	n := boots.Add(1)
	m := &machine{disk: d, World: w, t: d.t,
		groups: fmt.Sprintf("portgrave-test-%d-%d", os.Getpid(), n), ended: make(chan struct{}),
		console: &output{}}
	script := "set -eu\n"
	for _, h := range hierarchies() {
		dir := filepath.Join(h, m.groups)
		script += fmt.Sprintf("mkdir %s\necho $$ >%s/cgroup.procs\n", dir, dir)
	}
	// Without a console, systemd doesn't wait for terminals. The machine's name must be unique,
	// because its mounts below /run use it.
	script += `exec systemd-nspawn "$@"` + "\n"
	cmd := exec.Command(
		"sh",
		"-c",
		script,
		"sh",
		"--quiet",
		"--register=no",
		"--keep-unit",
		"--link-journal=no",
		"--resolv-conf=off",
		"--timezone=off",
		"--machine="+m.groups,
		"--network-namespace-path="+w.Host.Path(),
		"--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_AUDIT_READ",
		"--directory="+d.root,
		"--console=pipe",
		"--kill-signal=SIGKILL",
		"--boot",
		"systemd.unit=multi-user.target",
	)
	for _, unit := range maskedUnits {
		cmd.Args = append(cmd.Args, "systemd.mask="+unit)
	}
	cmd.Stdout, cmd.Stderr = m.console, m.console
	// On SIGTERM systemd-nspawn kills the container. SIGKILL would leave the container running.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the container ends with the thread that started it
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(m.ended)
		}
	}()
	if err := <-started; err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if m.t.Failed() && m.isRunning() {
			log, _ := m.try("sh", "-c",
				"journalctl --sync; journalctl --boot --no-pager --output=short-monotonic | grep "+
					"portgrave")
			m.t.Logf("the journal:\n%s\nthe console:\n%s", log, m.console)
		}
		m.crash()
	})
	m.await("the container's first process", func() bool {
		m.leader = leader(cmd.Process.Pid)
		return m.leader != 0
	})
	return m
}

// leader returns the child of systemd-nspawn that is the first process of its namespace and already
// runs systemd; 0 if there is none yet.
func leader(nspawn int) int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn, nspawn))
	for _, pid := range strings.Fields(string(children)) {
		status, _ := os.ReadFile("/proc/" + pid + "/status")
		name, _, _ := strings.Cut(string(status), "\n")
		for _, line := range strings.Split(string(status), "\n") {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "NSpid:" && f[2] == "1" &&
				name == "Name:\tsystemd" {
				var n int
				_, _ = fmt.Sscan(pid, &n)
				return n
			}
		}
	}
	return 0
}

// crash ends the machine at once, like a power failure. It may be called twice.
func (m *machine) crash() {
	if m.isRunning() {
		_ = unix.Kill(m.leader, unix.SIGKILL)
	}
	m.cleanUp()
}

// isRunning reports whether the container still runs.
func (m *machine) isRunning() bool {
	select {
	case <-m.ended:
		return false
	default:
		return m.leader != 0
	}
}

// shutDown shuts the machine down.
func (m *machine) shutDown() {
	m.t.Helper()
	m.run("systemctl", "poweroff", "--no-block")
	m.cleanUp()
}

func (m *machine) cleanUp() {
	m.t.Helper()
	select {
	case <-m.ended:
	case <-time.After(awaitTimeout):
		m.t.Errorf("the container has not ended")
	}
	var err error
	for range 100 { // groups become removable a moment after their processes have ended
		if err = removeGroups(m.groups); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	m.t.Errorf("control groups are left: %v", err)
}

// waitBooted waits until all units wanted at boot have started or failed.
func (m *machine) waitBooted() {
	m.t.Helper()
	m.await("the end of the boot", func() bool {
		out, _ := m.try("systemctl", "is-system-running", "--wait")
		return slices.Contains([]string{"running", "degraded"}, strings.TrimSpace(out))
	})
}

// await waits until a condition holds, and fails the test if it doesn't in time.
func (m *machine) await(what string, holds func() bool) {
	m.t.Helper()
	for end := time.Now().Add(awaitTimeout); !holds(); {
		select {
		case <-m.ended:
			m.t.Fatalf("waiting for %s: the container has ended", what)
		default:
		}
		if time.Now().After(end) {
			m.t.Fatalf("waiting for %s: it has not come", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// command prepares a program inside the machine, as root.
func (m *machine) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 2*awaitTimeout)
	cmd := exec.CommandContext(ctx, "nsenter",
		append([]string{"--target", fmt.Sprint(m.leader), "--mount", "--uts", "--ipc", "--net",
			"--pid", "--root", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "USER=root", "LANG=C.UTF-8", "SYSTEMD_PAGER="}
	context.AfterFunc(ctx, cancel)
	return cmd
}

// try runs a program inside the machine.
func (m *machine) try(args ...string) (string, error) {
	out, err := m.command(args...).CombinedOutput()
	return string(out), err
}

// run is try, but fails the test on an error.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// show returns a property of a unit.
func (m *machine) show(unit, property string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "--value", "--property="+property, unit))
}

// journal returns the journal of a unit and its processes in this boot.
func (m *machine) journal(unit string) string {
	m.t.Helper()
	m.run("journalctl", "--sync")
	return m.run("journalctl", "--boot", "--no-pager", "--output=short-monotonic", "--unit="+unit)
}

// output returns what a unit's processes have printed in this boot. The journal looks up the unit
// of a process when it reads the output, and a process of 30 ms may have ended by then. So this
// also selects by the number of the main process.
func (m *machine) output(unit string) string {
	m.t.Helper()
	m.run("journalctl", "--sync")
	return m.run("journalctl", "--boot", "--no-pager", "--output=cat", "_SYSTEMD_UNIT="+unit, "+",
		"_PID="+m.show(unit, "ExecMainPID"))
}

// hostPath returns the path outside of the container for a file of the running machine.
func (m *machine) hostPath(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.leader, path)
}
