package sockets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/portgrave/portgrave/firewall/netdump"
	"github.com/portgrave/portgrave/firewall/process"
	"golang.org/x/sys/unix"
)

// Snapshot is what listened at one moment.
type Snapshot struct {
	// Listeners in the order of their namespaces, then by protocol, port, address and interface.
	Listeners []Listener
	// Namespaces that were looked at, also those in which nothing listens: the current one first, then the host's, then by inode.
	Namespaces []Namespace
	// Unread says what could not be read, so that more may listen than is listed, or owners may be missing. Missing rights are
	// firewall.ErrPermission.
	Unread []error
}

// Current are the listeners of the reader's own namespace.
func (s Snapshot) Current() []Listener {
	return slices.DeleteFunc(slices.Clone(s.Listeners), func(l Listener) bool { return !l.Namespace.Current })
}

// Read looks at the network namespace of the calling thread and at every other that can be found on the host. Without rights it
// tells what it can: the sockets of the current namespace, whose owners are known as far as they are the reader's own processes.
//
// It fails if not even the current namespace can be read, or the context ends. Anything less is in Snapshot.Unread.
func Read(ctx context.Context) (Snapshot, error) {
	users := map[string]string{} // each is looked up once
	return host{
		processes: process.Reader{Proc: os.DirFS("/proc"), User: func(uid string) string {
			name, known := users[uid]
			if !known {
				name = process.UserName(uid)
				users[uid] = name
			}
			return name
		}},
		here: netdump.Dial,
		into: netdump.In,
	}.read(ctx)
}

// host is where a Snapshot comes from.
type host struct {
	processes process.Reader
	here      netdump.Dialer                // of the calling thread's namespace
	into      func(*os.File) netdump.Dialer // of another
}

func (h host) read(ctx context.Context) (Snapshot, error) {
	var s Snapshot
	seen, err := take(ctx, h.processes.Proc)
	if ctx.Err() != nil {
		return Snapshot{}, ctx.Err()
	}
	if err != nil {
		s.Unread = append(s.Unread, err)
		seen = newCensus()
	}
	spaces, unread := h.namespaces(seen)
	s.Unread = append(s.Unread, unread...)
	var all []found
	for _, in := range spaces {
		list, unread, err := h.listening(ctx, in)
		if ctx.Err() != nil {
			return Snapshot{}, ctx.Err()
		}
		switch {
		case errors.Is(err, errGone):
			continue
		case err != nil && in.Current:
			return Snapshot{}, err
		case err != nil:
			unread = append(unread, err)
		}
		for _, err := range unread {
			s.Unread = append(s.Unread, fmt.Errorf("network namespace %s: %w", in.Namespace, err))
		}
		s.Namespaces = append(s.Namespaces, in.Namespace)
		all = append(all, list...)
	}
	if missing := seen.orphans(all); len(missing) > 0 {
		seen.lookAgain(ctx, h.processes.Proc, missing)
	}
	if err := seen.unseen(); err != nil {
		s.Unread = append(s.Unread, err)
	}
	s.Listeners = group(all, newPeople(h.processes, seen))
	return s, ctx.Err()
}

// space is a namespace to look at and the ways into it; the current one needs none.
type space struct {
	Namespace
	ways []string
}

// namespaces lists those of a census and of the mounts, the current one first.
func (h host) namespaces(seen *census) (out []space, unread []error) {
	proc := h.processes.Proc
	if mounts, err := fs.ReadFile(proc, "thread-self/mountinfo"); err != nil {
		unread = append(unread, fmt.Errorf("network namespaces that only a mount keeps are not looked for: %w", err))
	} else {
		seen.mounted(namespaceMounts(string(mounts)))
	}
	inode := func(link string) uint64 {
		target, err := fs.ReadLink(proc, link)
		if err != nil {
			unread = append(unread, fmt.Errorf("telling network namespaces apart: %w", netdump.Permission(err)))
		}
		n, _ := process.Inode(target, "net")
		return n
	}
	current, first := inode("thread-self/ns/net"), inode("1/ns/net")
	if seen.places[current] == nil {
		seen.place(current, "thread-self/ns/net")
	}
	for _, p := range seen.places {
		n := Namespace{Inode: p.inode, Current: p.inode == current, Host: p.inode == first && first != 0, Name: p.name, Processes: p.processes}
		if p.first != 0 && !n.Host {
			n.Container = h.processes.Look(p.first).Container
		}
		out = append(out, space{n, p.ways})
	}
	slices.SortFunc(out, func(a, b space) int { return a.compare(b.Namespace) })
	return out, unread
}

// errGone: a namespace ended while the host was looked at.
var errGone = errors.New("the network namespace has ended")

// open opens a namespace by the first way that still leads there. It is errGone if all ways were processes and have ended.
func (h host) open(in space) (*os.File, error) {
	var errs []error
	gone := in.Name == "" && len(in.ways) < maxWays // else there may be more ways
	for _, way := range in.ways {
		f, err := h.processes.Proc.Open(way)
		if err != nil {
			gone = gone && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH))
			errs = append(errs, netdump.Permission(err))
			continue
		}
		file, ok := f.(*os.File)
		if ok && inodeOf(file) == in.Inode {
			return file, nil
		}
		_ = f.Close()
		gone = false
		errs = append(errs, fmt.Errorf("%s leads to another namespace by now", way))
	}
	if gone {
		return nil, errGone
	}
	return nil, fmt.Errorf("opening it: %w", errors.Join(errs...))
}
