// Package manager asks the systemd that runs this host: whether it does, whether it is to start
// portgrave at boot, and to run a command later.
//
// It starts systemd-run and systemctl. It writes no file, and does nothing on a host that systemd
// does not run.
package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Booted reports whether systemd runs this host, as sd_booted(3) does.
func Booted() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// WantsBoot reports whether systemd runs this host and is to start portgrave-boot.service.
func WantsBoot() bool {
	links, _ := filepath.Glob("/etc/systemd/system/*.wants/portgrave-boot.service")
	return Booted() && len(links) > 0
}

// Task is a command that systemd runs later, and again until it succeeds.
type Task struct {
	Unit        string // a name that no other unit has
	Description string
	After       time.Duration
	Environment []string // "NAME=value"
	Command     []string // whole paths
}

// Later leaves a task with systemd, and returns what takes it away again while it has not begun.
// Where this process is not root's, or systemd does not run the host that it sees, there is
// nothing to do.
func Later(ctx context.Context, t Task) (remove func(), err error) {
	if os.Geteuid() != 0 || !sameHost() {
		return func() {}, nil
	}
	program, err := exec.LookPath("systemd-run")
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, program, t.words()...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("systemd-run: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return func() { _ = exec.Command("systemctl", "--quiet", "stop", t.Unit+".timer").Run() }, nil
}

// words are those for systemd-run.
func (t Task) words() []string {
	words := []string{
		"--quiet", "--collect", "--unit=" + t.Unit, "--description=" + t.Description,
		"--on-active=" + strconv.FormatInt(int64(t.After.Seconds()), 10) + "s",
		"--timer-property=AccuracySec=100ms",
		"--property=Restart=on-failure", "--property=RestartSec=2s",
		"--property=StartLimitIntervalSec=0",
	}
	for _, e := range t.Environment {
		words = append(words, "--setenv="+e)
	}
	return append(append(words, "--"), t.Command...)
}

// sameHost reports whether systemd runs the very host that this process sees: what it starts must
// find the same network and files. In another network namespace, or below another root, it would
// change another host's rules.
func sameHost() bool {
	same := func(a, b string) bool {
		var x, y unix.Stat_t
		err := errors.Join(unix.Stat(a, &x), unix.Stat(b, &y))
		return err == nil && x.Dev == y.Dev && x.Ino == y.Ino
	}
	for _, space := range []string{"net", "mnt", "pid"} {
		if !same("/proc/1/ns/"+space, "/proc/self/ns/"+space) {
			return false
		}
	}
	return Booted() && same("/proc/1/root/", "/")
}
