package watch

import (
	"io/fs"
	"os"
	"os/user"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// authors finds out about the process behind a thread.
type authors struct {
	proc fs.FS                   // /proc
	user func(uid string) string // name of a user
}

func newAuthors() authors {
	return authors{proc: os.DirFS("/proc"), user: userName}
}

// userName is the name that goes with a user's number, or the number.
func userName(uid string) string {
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}

// authorship is an author with who logged in to begin with.
type authorship struct {
	firewall.Author
	loginUser string
	parent    int // process; 0 if unknown
}

// noLogin is the login uid of what no login started: -1 (include/linux/uidgid.h, INVALID_UID).
const noLogin = "4294967295"

// of describes who made the commit. The process is about to exit, and the executable is the first
// thing to go (with its memory, before it becomes a zombie), so that is read first. What can't be read stays zero;
// at the least there is what the kernel said, with the thread's number for the process's.
func (a authors) of(c commit, at time.Time) authorship {
	by := authorship{Author: firewall.Author{Command: c.name, PID: c.thread, At: at}}
	if c.thread <= 0 {
		by.PID = 0
		return by
	}
	dir := strconv.Itoa(c.thread)
	executable, _ := fs.ReadLink(a.proc, path.Join(dir, "exe"))
	cgroup := a.read(dir, "cgroup")
	status := a.read(dir, "status")
	login := strings.TrimSpace(a.read(dir, "loginuid"))
	if comm := a.read(dir, "comm"); comm != "" && comm != c.name {
		// Not who made the commit: the number was given to another thread since, the program was replaced
		// by exec, or the kernel counts processes from another namespace than this /proc.
		return by
	}
	by.Executable = executable
	by.Unit = unitOf(cgroup)
	by.parent, _ = strconv.Atoi(field(status, "PPid:"))
	if pid, err := strconv.Atoi(field(status, "Tgid:")); err == nil {
		by.PID = pid
		if pid != c.thread { // the kernel named a thread, which may be called otherwise
			if comm := a.read(strconv.Itoa(pid), "comm"); comm != "" {
				by.Command = comm
			}
		}
	}
	if uid := field(status, "Uid:"); uid != "" {
		by.User = a.user(uid)
	}
	if login != "" && login != noLogin {
		by.loginUser = a.user(login)
	}
	return by
}

// read is a file's content without the last line end; "" if it can't be read.
func (a authors) read(dir, name string) string {
	content, err := fs.ReadFile(a.proc, path.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(content), "\n")
}

// field is the first value of a line of /proc/PID/status. For Uid that is the real one: who
// started it, whatever its rights.
func field(status, name string) string {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if values := strings.Fields(rest); len(values) > 0 {
				return values[0]
			}
		}
	}
	return ""
}

// unitOf finds the systemd unit in /proc/PID/cgroup: in the unified hierarchy or systemd's own, the first part
// of the path that is a service or scope. What comes below it, the unit itself has made and named.
func unitOf(cgroup string) string {
	for line := range strings.Lines(cgroup) {
		_, controllers, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		controllers, dir, ok := strings.Cut(controllers, ":")
		if !ok || controllers != "" && controllers != "name=systemd" {
			continue
		}
		for part := range strings.SplitSeq(dir, "/") {
			if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
				return part
			}
		}
	}
	return ""
}
