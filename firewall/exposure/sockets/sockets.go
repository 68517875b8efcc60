package sockets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/process"
	"golang.org/x/sys/unix"
)

// Snapshot is what listened at one moment.
type Snapshot struct {
	// Listeners in the order of their namespaces, then by protocol, port, address and interface.
	Listeners []Listener
	// Namespaces that were looked at, also those in which nothing listens: the current one first,
	// then the host's, then by inode.
	Namespaces []Namespace
	// Addresses of the namespaces, by inode; of the current one, only if something listens there.
	Addresses map[uint64][]netip.Addr
	// Unread says what could not be read, so that more may listen than is listed, or owners may be
	// missing. Missing rights are firewall.ErrPermission.
	Unread []error

	host   host
	places map[uint64]*place
}

// Open opens a namespace by its inode. It fails for one that has ended, and with
// firewall.ErrPermission.
func (s Snapshot) Open(inode uint64) (*os.File, error) {
	p := s.places[inode]
	if p == nil {
		return nil, errGone
	}
	return s.host.open(p)
}

// Current are the listeners of the reader's own namespace.
func (s Snapshot) Current() []Listener {
	return slices.DeleteFunc(
		slices.Clone(s.Listeners),
		func(l Listener) bool { return !l.Namespace.Current },
	)
}

// Read looks at the network namespace of the calling thread and at every other that can be found on
// the host. Without rights it tells what it can: the sockets of the current namespace, whose owners
// are known as far as they are the reader's own processes.
//
// It fails if not even the current namespace can be read, or the context ends. Anything less is in
// Snapshot.Unread.
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
		here: netlink.Dial,
		into: netlink.In,
	}.read(ctx)
}

// host is where a Snapshot comes from.
type host struct {
	processes process.Reader
	here      netlink.Dialer                // of the calling thread's namespace
	into      func(*os.File) netlink.Dialer // of another
}

func (h host) read(ctx context.Context) (Snapshot, error) {
	var s Snapshot
	proc, seen := h.processes.Proc, newCensus()
	errs := seen.homes(ctx, proc)
	if mounts, err := fs.ReadFile(proc, "thread-self/mountinfo"); err != nil {
		s.Unread = append(
			s.Unread,
			fmt.Errorf("network namespaces that only a mount keeps are not looked for: %w", err),
		)
	} else {
		seen.mounted(namespaceMounts(string(mounts)))
	}
	current, err := namespaceOf(proc, "thread-self")
	if err != nil {
		s.Unread = append(s.Unread, err)
	}
	first, err := namespaceOf(proc, "1")
	switch {
	case errors.Is(err, fs.ErrPermission):
		seen.hidden[1] = true
	case err != nil:
		s.Unread = append(s.Unread, err)
	}
	if seen.places[current] == nil {
		seen.place(current, "thread-self/ns/net")
	}
	var all []found
	var denied []error
	look := func() error {
		list, closed, err := h.lookInto(ctx, &s, seen.unvisited(), current, first)
		all, denied = append(all, list...), append(denied, closed...)
		return err
	}
	if err := look(); err != nil {
		return Snapshot{}, err
	}
	// Who holds the sockets is asked after they were listed, so that none is too new to have an
	// owner.
	if errs == nil {
		errs = seen.holdings(ctx, proc)
	}
	if errs != nil {
		s.Unread = append(s.Unread, errs)
	}
	if err := look(); err != nil { // into namespaces that only a descriptor keeps
		return Snapshot{}, err
	}
	if err := unentered(denied); err != nil {
		s.Unread = append(s.Unread, err)
	}
	if err := seen.unseen(); err != nil {
		s.Unread = append(s.Unread, err)
	}
	slices.SortFunc(s.Namespaces, Namespace.compare)
	s.host, s.places = h, seen.places
	s.Listeners = group(all, newPeople(h.processes, seen))
	return s, ctx.Err()
}

// namespaceOf is the inode of a process's network namespace; 0 and an error if that can't be told.
func namespaceOf(proc fs.FS, pid string) (uint64, error) {
	target, err := fs.ReadLink(proc, pid+"/ns/net")
	if err != nil {
		return 0, fmt.Errorf("telling network namespaces apart: %w", err)
	}
	inode, _ := process.Inode(target, "net")
	return inode, nil
}

// unentered says which namespaces may not be entered; nil if there are none. The reason is the same
// for all, as a rule, so that of the first stands for the others.
func unentered(denied []error) error {
	switch len(denied) {
	case 0:
		return nil
	case 1:
		return denied[0]
	}
	return fmt.Errorf("%w; so it is with %d more network namespaces", denied[0], len(denied)-1)
}

// lookInto lists the sockets of namespaces, and notes them and what can't be read. Those that may
// not be entered are in denied. It fails if the current one can't be read.
func (h host) lookInto(
	ctx context.Context,
	s *Snapshot,
	places []*place,
	current, first uint64,
) (all []found, denied []error, err error) {
	for _, p := range places {
		n := Namespace{
			Inode:     p.inode,
			Current:   p.inode == current,
			Host:      p.inode == first && first != 0,
			Name:      p.name,
			Processes: p.processes,
		}
		if p.first != 0 && !n.Host {
			n.Container = h.processes.Look(p.first).Container
		}
		n.Neighbour = !n.Current && h.neighbour(ctx, p)
		list, addresses, unread, err := h.listening(ctx, n, p)
		switch {
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case errors.Is(err, errGone):
			p.forget() // a descriptor may yet turn out to keep it
			continue
		case err != nil && n.Current:
			return nil, nil, err
		case errors.Is(err, firewall.ErrPermission):
			denied = append(denied, fmt.Errorf(
				"what listens in network namespace %s is not listed: %w", n, err))
		case err != nil:
			unread = append(unread, err)
		}
		for _, err := range unread {
			s.Unread = append(s.Unread, fmt.Errorf("network namespace %s: %w", n, err))
		}
		s.Namespaces = append(s.Namespaces, n)
		if len(addresses) > 0 {
			if s.Addresses == nil {
				s.Addresses = map[uint64][]netip.Addr{}
			}
			s.Addresses[n.Inode] = addresses
		}
		all = append(all, list...)
	}
	return all, denied, nil
}

// neighbour reports whether a link of the calling thread's namespace has its other end in another
// one.
func (h host) neighbour(ctx context.Context, p *place) bool {
	f, err := h.open(p)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return numbered(ctx, h.here, f)
}

// errGone: a namespace ended while the host was looked at.
var errGone = errors.New("the network namespace has ended")

// open opens a namespace by the first way that still leads there. It is errGone if all ways were
// processes and have ended.
func (h host) open(p *place) (*os.File, error) {
	var errs []error
	gone := p.name == "" && len(p.ways) < maxWays // else there may be more ways
	for _, way := range p.ways {
		f, err := h.processes.Proc.Open(way)
		if err != nil {
			gone = gone && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH))
			if errors.Is(err, fs.ErrPermission) {
				err = firewall.DeniedError{Words: err.Error(), Err: err}
			}
			errs = append(errs, err)
			continue
		}
		file, ok := f.(*os.File)
		if ok && inodeOf(file) == p.inode {
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
