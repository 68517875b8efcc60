package sockets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/process"
	"golang.org/x/sys/unix"
)

// census is what /proc shows: which network namespaces there are, and who holds which socket.
type census struct {
	holders map[uint32][]int  // by inode of a socket: the processes that hold it, ascending
	places  map[uint64]*place // by inode of a network namespace
	hidden  map[int]bool      // processes that may not be looked into
	lacks   string            // why they may not
}

// place is a network namespace and the ways into it.
type place struct {
	inode     uint64
	ways      []string // names below /proc that open it, at most maxWays
	name      string   // of the mount that keeps it
	first     int      // process with the lowest number that lives in it; 0 is none
	processes int
	visited   bool
}

// maxWays bounds how many ways into a namespace are remembered. One is enough unless its process
// ends before it is opened.
const maxWays = 8

func (c *census) place(inode uint64, way string) *place {
	p := c.places[inode]
	if p == nil {
		p = &place{inode: inode}
		c.places[inode] = p
	}
	if len(p.ways) < maxWays {
		p.ways = append(p.ways, way)
	}
	return p
}

// forget leaves only the inode of a namespace whose processes have ended.
func (p *place) forget() { *p = place{inode: p.inode} }

func newCensus() *census {
	return &census{
		holders: map[uint32][]int{},
		places:  map[uint64]*place{},
		hidden:  map[int]bool{},
		lacks:   process.LookDenied(),
	}
}

// homes notes the namespaces in which processes live. holdings notes who holds which socket, and
// the namespaces that only a descriptor keeps. Both fail only if /proc can't be listed at all, or
// the context ends.
func (c *census) homes(
	ctx context.Context,
	proc fs.FS,
) error {
	return c.each(ctx, proc, c.home)
}

func (c *census) holdings(
	ctx context.Context,
	proc fs.FS,
) error {
	return c.each(ctx, proc, c.held)
}

// each looks at every process, in ascending order. One that has ended meanwhile has nothing to
// show.
func (c *census) each(ctx context.Context, proc fs.FS, look func(fs.FS, int) error) error {
	pids, err := process.Numbers(proc, ".")
	if err != nil {
		return fmt.Errorf("listing processes: %w", err)
	}
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if errors.Is(look(proc, pid), fs.ErrPermission) {
			c.hidden[pid] = true
		}
	}
	return nil
}

// home notes the network namespaces in which a process's threads live: usually one, but each thread
// can be elsewhere (setns(2)).
func (c *census) home(proc fs.FS, pid int) error {
	dir := strconv.Itoa(pid)
	var known []uint64 // of this process
	err := c.lives(proc, pid, dir+"/ns/net", &known)
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	threads, err := process.Numbers(proc, dir+"/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		if thread != pid {
			_ = c.lives(proc, pid, fmt.Sprintf("%s/task/%d/ns/net", dir, thread), &known)
		}
	}
	return nil
}

// lives notes that a thread of a process lives in the namespace that a link of /proc leads to, once
// a process.
func (c *census) lives(proc fs.FS, pid int, way string, known *[]uint64) error {
	target, err := fs.ReadLink(proc, way)
	if err != nil {
		return err
	}
	inode, ok := process.Inode(target, "net")
	if !ok || slices.Contains(*known, inode) {
		return nil
	}
	*known = append(*known, inode)
	p := c.place(inode, way)
	if p.first == 0 {
		p.first = pid
	}
	p.processes++
	return nil
}

// held notes the sockets and namespaces that a process has descriptors of.
func (c *census) held(proc fs.FS, pid int) error {
	descriptors, err := process.Descriptors(proc, pid)
	if err != nil {
		return err
	}
	for way, target := range descriptors {
		if inode, ok := process.Inode(target, "socket"); ok {
			c.holds(pid, uint32(inode)) // sock_diag has no more of it than 32 bits
		} else if inode, ok := process.Inode(target, "net"); ok {
			c.place(inode, way)
		}
	}
	return nil
}

// holds notes a holder once, however many descriptors it has of the socket.
func (c *census) holds(pid int, socket uint32) {
	if list := c.holders[socket]; len(list) == 0 || list[len(list)-1] != pid {
		c.holders[socket] = append(list, pid)
	}
}

// mounted adds the namespaces that mounts keep. A name in /run/netns is preferred: it is the one
// that "ip netns" knows.
func (c *census) mounted(list []mount) {
	for _, m := range list {
		p := c.place(m.inode, "thread-self/root"+m.path)
		if p.name == "" || strings.HasPrefix(m.path, "/run/netns/") {
			p.name = m.name()
		}
	}
}

// unvisited are the namespaces that were not returned by it before, in the order of their inodes.
func (c *census) unvisited() (out []*place) {
	for _, p := range c.places {
		if !p.visited {
			p.visited = true
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *place) int { return cmp.Compare(a.inode, b.inode) })
	return out
}

// unseen says that processes may not be looked into; nil if there are none.
func (c *census) unseen() error {
	if len(c.hidden) == 0 {
		return nil
	}
	words := fmt.Sprintf("%d processes may not be looked into, so their sockets have no owner "+
		"and their network namespaces may be missing (%s)", len(c.hidden), c.lacks)
	if len(c.hidden) == 1 {
		for pid := range c.hidden {
			words = fmt.Sprintf("process %d may not be looked into, so its sockets have no owner "+
				"and its network namespace may be missing (%s)", pid, c.lacks)
		}
	}
	return firewall.DeniedError{Words: words, Err: unix.EACCES}
}
