// Package peers runs other projects' firewalls: ufw, firewalld and dockerd from Debian's packages,
// on the host of a lab world, so that tests compare our claims about them with the real programs.
//
// They are not installed, because they would take over the machine's firewall at the next start.
// "make deps" unpacks them into bin/peers. Start overlays that folder on the machine's /usr, /etc
// and /var in a mount namespace of its own, with a process namespace and the network namespace of
// the node. A peer writes to memory only, its processes end with the first of them, and it can't
// load kernel modules. It shares only the machine's control groups: they have a name of their own,
// and are removed.
package peers

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

//go:embed machine.sh
var machine string

// readyTimeout is how long a script may take to print Ready. On an idle machine it takes at most
// three seconds.
const readyTimeout = 5 * time.Minute

// Ready is the line that a script prints when its rules are in place.
const Ready = "ready"

// folder is where "make deps" has unpacked the packages.
func folder() string {
	return filepath.Join(lab.ModuleFolder(), "bin", "peers")
}

// Folder returns where the packages are unpacked. The error says how to get them.
func Folder() (string, error) {
	if _, err := os.Stat(filepath.Join(folder(), "packages")); err != nil {
		return "", fmt.Errorf("ufw, firewalld and dockerd are not there: run make deps (%w)", err)
	}
	return folder(), nil
}

// TB is the part of testing.TB that Start needs.
type TB interface {
	lab.TB
	TempDir() string
}

// Start runs a shell script on a machine that has the packages, waits for the line Ready, and
// returns what the script printed. The script may continue while its daemons are needed; it is
// killed with all its processes when the test ends. $SCRATCH is a folder for large files, and
// $CGROUP the control group that the script may make.
func Start(t TB, node *lab.Node, script string) string {
	t.Helper()
	packages, err := Folder()
	if err != nil {
		t.Fatalf("%v", err)
	}
	scratch := t.TempDir()
	group := fmt.Sprintf("/portgrave-test-%d-%x", os.Getpid(), node.Inode())
	ctx, cancel := context.WithCancel(context.Background())
	cmd := node.Command(ctx, "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork",
		"--kill-child=KILL",
		"sh", "-c", machine, "sh", scratch, packages, group, script)
	cmd.WaitDelay = 5 * time.Second
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatalf("%v", err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		cancel()
		t.Fatalf("%v", err)
	}
	printed := &transcript{ready: make(chan struct{}), ended: make(chan struct{})}
	go printed.read(out)
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		<-printed.ended // the machine's last process has ended, and so have its files
		removeGroups(t, group)
	})
	select {
	case <-printed.ready:
	case <-printed.ended:
		if !printed.isReady() {
			t.Fatalf("a script ended before it was ready:\n%s", printed)
		}
	case <-time.After(readyTimeout):
		t.Fatalf("a script is not ready after %v:\n%s", readyTimeout, printed)
	}
	return printed.String()
}

// transcript collects what a script prints.
type transcript struct {
	ready, ended chan struct{}

	mu    sync.Mutex
	lines []string
}

// maxLines bounds what is kept of a daemon's output.
const maxLines = 2000

func (s *transcript) read(from *os.File) {
	defer close(s.ended)
	defer func() { _ = from.Close() }()
	scan := bufio.NewScanner(from)
	for ready := false; scan.Scan(); {
		s.mu.Lock()
		if len(s.lines) < maxLines {
			s.lines = append(s.lines, scan.Text())
		}
		s.mu.Unlock()
		if scan.Text() == Ready && !ready {
			ready = true
			close(s.ready)
		}
	}
}

func (s *transcript) isReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// removeGroups removes the control groups with a name, the innermost first. A group becomes empty a
// moment after its last process has ended, so this retries.
func removeGroups(t TB, group string) {
	for range 50 {
		var all []string
		for _, pattern := range []string{"/sys/fs/cgroup" + group, "/sys/fs/cgroup/*" + group} {
			roots, _ := filepath.Glob(pattern)
			for _, root := range roots {
				_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
					if err == nil && d.IsDir() {
						all = append(all, path)
					}
					return nil
				})
			}
		}
		if len(all) == 0 {
			return
		}
		slices.Reverse(all) // WalkDir lists a folder before its content
		for _, path := range all {
			_ = os.Remove(path)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("control groups %s are left over", group)
}
