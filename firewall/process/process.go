package process

import (
	"io/fs"
	"os"
	"os/user"
	"path"
	"strconv"
	"strings"
)

// Process describes a process. Fields that can't be read are zero.
type Process struct {
	PID int // for a thread, its process
	// Name is the process's own name, of at most 15 bytes: "sshd" (TASK_COMM_LEN,
	// include/linux/sched.h).
	Name       string
	ThreadName string // the name of the thread that was asked about
	// Executable is an absolute path in the process's own mount namespace. It ends in " (deleted)"
	// if the file was replaced.
	Executable string
	Unit       string    // "ssh.service", "session-3.scope"
	Container  Container // zero if it runs in none
	User       string    // name or number of the real user ID
	Parent     int       // process number
	// LoginUser is the user who logged in (audit's login uid), which sudo and su don't change. It
	// is "" for processes that no login started.
	LoginUser string
}

// Reader reads processes from a /proc.
type Reader struct {
	Proc fs.FS                   // /proc
	User func(uid string) string // returns the name of a user
}

// New returns the Reader of this host.
func New() Reader { return Reader{Proc: os.DirFS("/proc"), User: UserName} }

// UserName returns the name of a user number, or the number if it has none.
func UserName(uid string) string {
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}

// NoLogin is the login uid of processes that no login started: -1 (INVALID_UID in
// include/linux/uidgid.h).
const NoLogin = "4294967295"

// Look describes a process or thread by its number. It reads the executable first, because an
// exiting process loses that first, with its memory.
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
		if pid != number { // a thread may have another name than its process
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

// Name returns a process's own name; "" if it can't be read.
func (r Reader) Name(pid int) string { return r.read(strconv.Itoa(pid), "comm") }

// read returns a file's content without the final newline; "" if it can't be read.
func (r Reader) read(dir, name string) string {
	content, err := fs.ReadFile(r.Proc, path.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(content), "\n")
}

// field returns the first value of a line in /proc/PID/status. For Uid that is the real user ID.
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
