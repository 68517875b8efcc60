package watch

import (
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/process"
)

// authorFinder finds out about the process behind a thread.
type authorFinder struct{ processes process.Reader }

func newAuthorFinder() authorFinder { return authorFinder{process.New()} }

// authorship is an author and what else is known of the process.
type authorship struct {
	firewall.Author
	loginUser string
	parent    int // process; 0 if unknown
}

// find describes the author of a commit. Fields that can't be read stay zero. If nothing can be
// read, the result has the thread's name and number from the kernel.
func (a authorFinder) find(c commit, at time.Time) authorship {
	by := authorship{Author: firewall.Author{Command: c.name, PID: c.thread, At: at}}
	if c.thread <= 0 {
		by.PID = 0
		return by
	}
	p := a.processes.Look(c.thread)
	if p.ThreadName != "" && p.ThreadName != c.name {
		// This is not the author: another thread has the number now, the program was replaced by
		// exec, or the kernel's number belongs to another PID namespace than this /proc.
		return by
	}
	by.Executable, by.Unit, by.User = p.Executable, p.Unit, p.User
	by.loginUser, by.parent = p.LoginUser, p.Parent
	if p.PID != 0 {
		by.PID = p.PID
		if p.PID != c.thread && p.Name != "" { // prefer the process's name to the thread's
			by.Command = p.Name
		}
	}
	return by
}
