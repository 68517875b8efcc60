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

// patience is how long anything may take that must come. What takes a second on an idle machine may take ten on a busy one.
const patience = 60 * time.Second

// machine is one boot of a disk, in the network of a lab world's host.
type machine struct {
	*disk
	*lab.World
	t       *testing.T // of both, the one that is meant
	leader  int        // the first process, as this machine counts
	groups  string
	ended   chan struct{}
	console *output
}

// output is what a program has printed so far.
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

// idle are units of Debian that cost a boot more time than ours do, and have no part in anything here.
var idle = []string{"systemd-logind.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "e2scrub_reap.service", "apt-daily.timer",
	"apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "getty.target"}

// boot boots the disk in a new world and waits until systemd has done all it was asked for at the start.
func (d *disk) boot() *machine {
	d.t.Helper()
	m := d.powerOn(lab.New(d.t))
	m.waitBooted()
	return m
}

// powerOn boots the disk in the host of a world and returns as soon as its systemd runs. A world can be used once: rules outlive
// the container, and the next boot would begin with them.
func (d *disk) powerOn(w *lab.World) *machine {
	d.t.Helper()
	n := boots.Add(1)
	m := &machine{disk: d, World: w, t: d.t, groups: fmt.Sprintf("portgrave-test-%d-%d", os.Getpid(), n), ended: make(chan struct{}), console: &output{}}
	script := "set -eu\n"
	for _, h := range hierarchies() {
		dir := filepath.Join(h, m.groups)
		script += fmt.Sprintf("mkdir %s\necho $$ >%s/cgroup.procs\n", dir, dir)
	}
	// No console: systemd would wait for terminals to be there. The machine's name is that of its mounts below /run, so it must be one of a kind.
	script += `exec systemd-nspawn "$@"` + "\n"
	cmd := exec.Command("sh", "-c", script, "sh", "--quiet", "--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--machine="+m.groups, "--network-namespace-path="+w.Host.Path(), "--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_AUDIT_READ", "--directory="+d.root,
		"--console=pipe", "--kill-signal=SIGKILL", "--boot", "systemd.unit=multi-user.target")
	for _, unit := range idle {
		cmd.Args = append(cmd.Args, "systemd.mask="+unit)
	}
	cmd.Stdout, cmd.Stderr = m.console, m.console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM} // which has it kill the container; killed itself, it would leave that alone
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the container ends with the thread that started it, so that thread must stay
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
		if m.t.Failed() && m.runs() {
			log, _ := m.try("sh", "-c", "journalctl --sync; journalctl --boot --no-pager --output=short-monotonic | grep portgrave")
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

// leader is the child of systemd-nspawn that is the first process of its namespace and has become systemd; 0 if there is none yet.
func leader(nspawn int) int {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn, nspawn))
	for _, pid := range strings.Fields(string(children)) {
		status, _ := os.ReadFile("/proc/" + pid + "/status")
		name, _, _ := strings.Cut(string(status), "\n")
		for _, line := range strings.Split(string(status), "\n") {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "NSpid:" && f[2] == "1" && name == "Name:\tsystemd" {
				var n int
				_, _ = fmt.Sscan(pid, &n)
				return n
			}
		}
	}
	return 0
}

// crash ends the machine at once, as when the power fails. It may be called twice.
func (m *machine) crash() {
	if m.runs() {
		_ = unix.Kill(m.leader, unix.SIGKILL)
	}
	m.gone()
}

// runs reports whether the container has not ended.
func (m *machine) runs() bool {
	select {
	case <-m.ended:
		return false
	default:
		return m.leader != 0
	}
}

// shutDown ends the machine in order.
func (m *machine) shutDown() {
	m.t.Helper()
	m.run("systemctl", "poweroff", "--no-block")
	m.gone()
}

func (m *machine) gone() {
	m.t.Helper()
	select {
	case <-m.ended:
	case <-time.After(patience):
		m.t.Errorf("the container has not ended")
	}
	var err error
	for range 100 { // groups are freed a moment after their processes
		if err = removeGroups(m.groups); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	m.t.Errorf("control groups are left: %v", err)
}

// waitBooted waits until every unit that is wanted at the start has started or failed.
func (m *machine) waitBooted() {
	m.t.Helper()
	m.await("the end of the boot", func() bool {
		out, _ := m.try("systemctl", "is-system-running", "--wait")
		return slices.Contains([]string{"running", "degraded"}, strings.TrimSpace(out))
	})
}

// await waits until something holds that must come.
func (m *machine) await(what string, holds func() bool) {
	m.t.Helper()
	for end := time.Now().Add(patience); !holds(); {
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
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", fmt.Sprint(m.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LANG=C.UTF-8", "SYSTEMD_PAGER="}
	context.AfterFunc(ctx, cancel)
	return cmd
}

// try runs a program inside the machine.
func (m *machine) try(args ...string) (string, error) {
	out, err := m.command(args...).CombinedOutput()
	return string(out), err
}

// run is try for what must not fail.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// show is a property of a unit.
func (m *machine) show(unit, property string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "--value", "--property="+property, unit))
}

// journal is what a unit has written to the journal, or its processes have, in this boot.
func (m *machine) journal(unit string) string {
	m.t.Helper()
	m.run("journalctl", "--sync")
	return m.run("journalctl", "--boot", "--no-pager", "--output=short-monotonic", "--unit="+unit)
}

// said is what a unit's processes have printed in this boot. The journal asks of which unit a process is when it reads what that has printed, and one that
// takes 30 ms may be gone by then: its main process is known by its number too.
func (m *machine) said(unit string) string {
	m.t.Helper()
	m.run("journalctl", "--sync")
	return m.run("journalctl", "--boot", "--no-pager", "--output=cat", "_SYSTEMD_UNIT="+unit, "+", "_PID="+m.show(unit, "ExecMainPID"))
}

// live is the path of a file of the running machine, as this machine names it.
func (m *machine) live(path string) string {
	return fmt.Sprintf("/proc/%d/root%s", m.leader, path)
}
