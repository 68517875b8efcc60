package process

import (
	"io/fs"
	"os"
	"os/user"
	"path"
	"strconv"
	"strings"
)

// Process is what can be told of a process; what can't is zero.
type Process struct {
	PID        int       // its number; of a thread, that of the process it belongs to
	Name       string    // "sshd": what it calls itself, at most 15 bytes (TASK_COMM_LEN, include/linux/sched.h)
	ThreadName string    // the same of the thread that was asked about
	Executable string    // absolute path, in the process's own view of the files; ends in " (deleted)" once replaced
	Unit       string    // "ssh.service", "session-3.scope"
	Container  Container // zero: in none
	User       string    // who started it, whatever its rights; a name, or a number that has none here
	Parent     int       // the process that started it, or has taken it in
	LoginUser  string    // who logged in to begin with (audit's login uid), through sudo and su; "" for what no login started
}

// Reader finds out about processes.
type Reader struct {
	Proc fs.FS                   // /proc
	User func(uid string) string // name of a user
}

// New returns the Reader of this host.
func New() Reader { return Reader{Proc: os.DirFS("/proc"), User: UserName} }

// UserName is the name that goes with a user's number, or the number.
func UserName(uid string) string {
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}

// NoLogin is the login uid of what no login started: -1 (include/linux/uidgid.h, INVALID_UID).
const NoLogin = "4294967295"

// Look describes the process behind the number of a process or thread.
//
// It may be about to exit, and the executable is the first thing to go (with its memory, before it becomes a zombie), so that
// is read first.
func (r Reader) Look(number int) Process {
	var p Process
	dir := strconv.Itoa(number)
	p.Executable, _ = fs.ReadLink(r.Proc, path.Join(dir, "exe"))
	cgroup := r.read(dir, "cgroup")
	status := r.read(dir, "status")
	login := strings.TrimSpace(r.read(dir, "loginuid"))
	p.ThreadName = r.read(dir, "comm")
	p.Name = p.ThreadName
	p.Unit, p.Container = unitOf(cgroup), containerOf(cgroup)
	if pid, err := strconv.Atoi(field(status, "Tgid:")); err == nil {
		p.PID = pid
		if pid != number { // a thread, which may be called otherwise
			p.Name = r.Name(pid)
		}
	}
	p.Parent, _ = strconv.Atoi(field(status, "PPid:"))
	if uid := field(status, "Uid:"); uid != "" {
		p.User = r.User(uid)
	}
	if login != "" && login != NoLogin {
		p.LoginUser = r.User(login)
	}
	return p
}

// Name is what a process calls itself; "" if that can't be read.
func (r Reader) Name(pid int) string { return r.read(strconv.Itoa(pid), "comm") }

// read is a file's content without the last line end; "" if it can't be read.
func (r Reader) read(dir, name string) string {
	content, err := fs.ReadFile(r.Proc, path.Join(dir, name))
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
