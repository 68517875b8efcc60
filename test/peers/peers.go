// Package peers runs the firewalls of other projects for real: ufw, firewalld and dockerd out of Debian's packages, in the
// host of a lab world, so that what the project says about them is judged by them.
//
// They are not installed, since they would take over the machine's firewall when it next starts: "make deps" unpacks them into
// bin/peers. Start lays that folder over the machine's /usr, /etc and /var in a mount namespace of its own, with
// a process namespace beside it and the network namespace of the node. What a peer writes is in memory and ends with it,
// its processes end with the first of them, and it can't load kernel modules. Only its control groups are the machine's: they have a name of
// their own, and are removed.
package peers

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

//go:embed machine.sh
var machine string

// patience is how long a script may take to say "ready". It takes three seconds at the most where nothing else runs.
const patience = 90 * time.Second

// Ready is the line with which a script says that the rules are as it wants them.
const Ready = "ready"

// folder is where "make deps" has unpacked the packages.
func folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "bin", "peers")
}

// Folder is where the packages are unpacked; the error says how to come by them.
func Folder() (string, error) {
	if _, err := os.Stat(filepath.Join(folder(), "packages")); err != nil {
		return "", fmt.Errorf("ufw, firewalld and dockerd are not there: run make deps (%w)", err)
	}
	return folder(), nil
}

// TB is what Start needs of a test.
type TB interface {
	lab.TB
	TempDir() string
}

// Start runs a shell script on a machine that has the packages, and waits for the line Ready. The script may go on, for as
// long as its daemons are needed: it is killed, with all it started, when the test ends. It finds a folder for large files in $SCRATCH, and
// the control group that it may make in $CGROUP. Start returns what the script printed.
func Start(t TB, node *lab.Node, script string) string {
	t.Helper()
	packages, err := Folder()
	if err != nil {
		t.Fatalf("%v", err)
	}
	scratch := t.TempDir()
	group := fmt.Sprintf("/portgrave-test-%d-%x", os.Getpid(), node.Inode())
	ctx, cancel := context.WithCancel(context.Background())
	cmd := node.Command(ctx, "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL",
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
	said := &transcript{ready: make(chan struct{}), over: make(chan struct{})}
	go said.read(out)
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		<-said.over // the last process of the machine has gone, and with it its files
		removeGroups(t, group)
	})
	select {
	case <-said.ready:
	case <-said.over:
		if !said.isReady() {
			t.Fatalf("a script ended before it was ready:\n%s", said)
		}
	case <-time.After(patience):
		t.Fatalf("a script is not ready after %v:\n%s", patience, said)
	}
	return said.String()
}

// transcript is what a script prints.
type transcript struct {
	ready, over chan struct{}

	mu    sync.Mutex
	lines []string
}

// maxLines bounds what is kept of a daemon that talks for ever.
const maxLines = 2000

func (s *transcript) read(from *os.File) {
	defer close(s.over)
	defer func() { _ = from.Close() }()
	scan := bufio.NewScanner(from)
	for told := false; scan.Scan(); {
		s.mu.Lock()
		if len(s.lines) < maxLines {
			s.lines = append(s.lines, scan.Text())
		}
		s.mu.Unlock()
		if scan.Text() == Ready && !told {
			told = true
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

// removeGroups removes the control groups of a name, the innermost first. They are empty a moment after their last process has gone.
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
		slices.Reverse(all) // WalkDir names a folder before what is in it
		for _, path := range all {
			_ = os.Remove(path)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("control groups %s are left over", group)
}
