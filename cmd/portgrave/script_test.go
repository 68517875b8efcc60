package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// The scripts in testdata run the program as users do and read like documentation. Those named
// kernel_*.txt run in a network namespace of their own.
func TestMain(m *testing.M) {
	unix.Umask(0o022) // a policy that others may write is refused
	testscript.Main(m, map[string]func(){
		"portgrave": main,
		"isolated":  isolated,
		"hearing":   hearing,
		"nobody":    nobody,
		"reader":    func() { enter(); unprivileged() },

		"screen80":   screen80,
		"guards":     func() { fmt.Print(guardsList()) },
		"killguards": killGuards,
		"killdaemon": killDaemon,

		"waitfor": func() { waitUntil(func() bool { _, err := os.Stat(os.Args[1]); return err == nil }) },
		"listen":  listen,
		"sshd":    listen, // audit and check know a program by its name
		"waitforevent": func() {
			waitUntil(func() bool {
				b, _ := os.ReadFile(os.Getenv("PORTGRAVE_STATE_DIR") + "/drift.jsonl")
				return strings.Contains(string(b), os.Args[1])
			})
		},
		"waitforset": func() {
			enter()
			waitUntil(func() bool {
				out, _ := exec.Command("ipset", "list").Output()
				return strings.Contains(string(out), os.Args[1])
			})
		},
		"waitforstatus": func() {
			enter()
			waitUntil(func() bool {
				out, _ := exec.Command("portgrave", "--config", "etc", "status").Output()
				text := strings.Join(strings.Fields(string(out)), " ") // its lines are wrapped
				return strings.Contains(text, os.Args[1])
			})
		},
		"waitforlistener": func() {
			enter()
			waitUntil(func() bool {
				out, _ := exec.Command("ss", "-Hltn", "sport = :"+os.Args[1]).Output()
				return len(out) > 0
			})
		},
		"waitforrule": func() { enter(); waitUntil(func() bool { return strings.Contains(ruleset(), os.Args[1]) }) },
	})
}

// isolated runs a command in the script's own network namespace, $NETNS.
func isolated() {
	enter()
	replace(os.Args[1:])
}

// hearing is isolated with a raw socket for VRRP, which the command inherits.
func hearing() {
	enter()
	const vrrp = 112
	if _, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, vrrp); err != nil { // lasts over exec
		fmt.Fprintln(os.Stderr, "hearing:", err)
		os.Exit(99)
	}
	replace(os.Args[1:])
}

func ruleset() string {
	out, _ := exec.Command("nft", "list", "ruleset").Output()
	return string(out)
}

// waitUntil ends the process when something has come true, or with an error after a minute.
func waitUntil(f func() bool) {
	for range 1200 {
		if f() {
			os.Exit(0)
		}
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "waited a minute in vain for", os.Args[1], ruleset())
	os.Exit(1)
}

// enter moves the calling thread into $NETNS.
func enter() {
	runtime.LockOSThread()
	fd, err := unix.Open(os.Getenv("NETNS"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Setns(fd, unix.CLONE_NEWNET)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolated:", err)
		os.Exit(99) // running it here would touch the machine's own firewall
	}
}

// nobody runs a command without privileges, in a namespace where even a mistake harms nobody.
func nobody() {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		fmt.Fprintln(os.Stderr, "nobody:", err)
		os.Exit(99)
	}
	unprivileged()
}

// unprivileged runs a command as a user without rights.
func unprivileged() {
	path, err := exec.LookPath("setpriv")
	if err != nil {
		fmt.Fprintln(os.Stderr, "setpriv:", err)
		os.Exit(99)
	}
	replace(
		append(
			[]string{
				path,
				"--reuid=65534",
				"--regid=65534",
				"--clear-groups",
				"--bounding-set=-all",
			},
			os.Args[1:]...),
	)
}

// guardPIDs finds the guards of this script's state directory, by their command line and
// environment.
func guardPIDs(generation string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		line, _ := os.ReadFile(path)
		env, _ := os.ReadFile(filepath.Dir(path) + "/environ")
		words := strings.Split(string(line), "\x00")
		if len(words) > 2 && words[1] == "guard" && (generation == "" || words[2] == generation) &&
			slices.Contains(
				strings.Split(string(env), "\x00"),
				"PORTGRAVE_STATE_DIR="+os.Getenv("PORTGRAVE_STATE_DIR"),
			) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// listen takes connections at an address of the script's network namespace until it is interrupted,
// or ten minutes have passed.
func listen() {
	enter()
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "listen:", err)
		os.Exit(1)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	go func() {
		for {
			if c, err := l.Accept(); err == nil {
				_ = c.Close()
			}
		}
	}()
	select {
	case <-interrupted:
	case <-time.After(10 * time.Minute):
	}
}

// killDaemon kills the daemon of this script, and waits until it is dead.
func killDaemon() {
	enter()
	out, err := exec.Command("portgrave", "status", "-o", "json").Output()
	var s struct{ Daemon struct{ PID int } }
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err == nil && s.Daemon.PID <= 1 {
		err = fmt.Errorf("no daemon runs: %s", out)
	}
	if err == nil {
		err = unix.Kill(s.Daemon.PID, unix.SIGKILL)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "killdaemon:", err)
		os.Exit(1)
	}
}

func guardsList() string {
	var out strings.Builder
	for _, pid := range guardPIDs("") {
		fmt.Fprintln(&out, pid)
	}
	return out.String()
}

// killGuards GENERATION N kills N of the guards of a generation, as an accident would. It waits
// until both run.
func killGuards() {
	n, _ := strconv.Atoi(os.Args[2])
	var pids []int
	for range 200 {
		if pids = guardPIDs(os.Args[1]); len(pids) >= 2 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(pids) != 2 {
		fmt.Fprintln(os.Stderr, "guards:", pids)
		os.Exit(1)
	}
	for _, pid := range pids[:n] {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			fmt.Fprintln(os.Stderr, pid, err)
			os.Exit(1)
		}
	}
}

func replace(args []string) {
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = unix.Exec(path, args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, args[0], err)
	os.Exit(99)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PORTGRAVE_STATE_DIR", e.WorkDir+"/state")
			e.Setenv("PORTGRAVE_RUN_DIR", e.WorkDir+"/run")
			e.Setenv("NO_COLOR", "1")
			e.Setenv("GORACE", os.Getenv("GORACE"))
			if err := os.Chmod(e.WorkDir, 0o755); err != nil {
				return err
			}
			if os.Geteuid() != 0 {
				return nil
			}
			name := fmt.Sprintf("pgscript%d-%d", os.Getpid(), namespaces.next())
			if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
				return fmt.Errorf("ip netns add: %w: %s", err, out)
			}
			e.Defer(func() { _ = exec.Command("ip", "netns", "delete", name).Run() })
			e.Setenv("NETNS", "/run/netns/"+name)
			return nil
		},
		Condition: func(c string) (bool, error) {
			if c == "root" {
				if os.Geteuid() != 0 {
					t.Log("SKIPPED: not root: kernel scripts need a network namespace")
				}
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", c)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}

type counter struct{ c chan int }

func (c counter) next() int { n := <-c.c; c.c <- n + 1; return n }

var namespaces = func() counter { c := counter{make(chan int, 1)}; c.c <- 1; return c }()

// exits CODE COMMAND… fails unless the command ends with that exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG…")
	}
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		got = -1
		if _, number, found := strings.Cut(err.Error(), "exit status "); found {
			got, _ = strconv.Atoi(number)
		}
	}
	if got != want {
		ts.Fatalf(
			"%s ended with exit code %d (%v), want %d",
			strings.Join(args[1:], " "),
			got,
			err,
			want,
		)
	}
}
