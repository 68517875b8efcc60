package watch

import (
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/process"
)

// authors finds out about the process behind a thread.
type authors struct{ processes process.Reader }

func newAuthors() authors { return authors{process.New()} }

// authorship is an author with who logged in to begin with.
type authorship struct {
	firewall.Author
	loginUser string
	parent    int // process; 0 if unknown
}

// of describes who made the commit. What can't be read stays zero; at the least there is what the kernel
// said, with the thread's number for the process's.
func (a authors) of(c commit, at time.Time) authorship {
	by := authorship{Author: firewall.Author{Command: c.name, PID: c.thread, At: at}}
	if c.thread <= 0 {
		by.PID = 0
		return by
	}
	p := a.processes.Look(c.thread)
	if p.ThreadName != "" && p.ThreadName != c.name {
		// Not who made the commit: the number was given to another thread since, the program was replaced
		// by exec, or the kernel counts processes from another namespace than this /proc.
		return by
	}
	by.Executable, by.Unit, by.User, by.loginUser, by.parent = p.Executable, p.Unit, p.User, p.LoginUser, p.Parent
	if p.PID != 0 {
		by.PID = p.PID
		if p.PID != c.thread && p.Name != "" { // the kernel named a thread, which may be called otherwise
			by.Command = p.Name
		}
	}
	return by
}
