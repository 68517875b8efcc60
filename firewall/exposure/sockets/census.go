package sockets

import (
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

// census is what one pass over /proc shows: who holds which socket, and which network namespaces there are.
type census struct {
	holders map[uint32][]int  // by inode of a socket: the processes that hold it, ascending
	places  map[uint64]*place // by inode of a network namespace
	hidden  []int             // processes that may not be looked into, ascending
}

// place is a network namespace and the ways into it.
type place struct {
	inode     uint64
	ways      []string // names below /proc that open it, at most maxWays
	name      string   // of the mount that keeps it
	first     int      // process with the lowest number that lives in it; 0 is none
	processes int
}

// maxWays bounds how many ways into a namespace are remembered. One is enough unless its process ends before it is opened.
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

func newCensus() *census {
	return &census{holders: map[uint32][]int{}, places: map[uint64]*place{}}
}

// take makes the pass. It fails only if /proc can't be listed at all, or the context ends.
func take(ctx context.Context, proc fs.FS) (*census, error) {
	c := newCensus()
	pids, err := process.Numbers(proc, ".")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	for _, pid := range pids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		home := c.home(proc, pid)
		held := c.held(proc, pid)
		// One that has ended meanwhile holds nothing.
		if errors.Is(home, fs.ErrPermission) || errors.Is(held, fs.ErrPermission) {
			c.hidden = append(c.hidden, pid)
		}
	}
	return c, nil
}

// home notes the network namespaces in which a process's threads live: usually one, but each thread can be elsewhere (setns(2)).
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

// lives notes that a thread of a process lives in the namespace that a link of /proc leads to, once a process.
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

// held notes the sockets and namespaces of which a process has a descriptor.
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

// mounted adds the namespaces that mounts keep. A name in /run/netns is preferred: it is the one that "ip netns" knows.
func (c *census) mounted(list []mount) {
	for _, m := range list {
		p := c.place(m.inode, "thread-self/root"+m.path)
		if p.name == "" || strings.HasPrefix(m.path, "/run/netns/") {
			p.name = m.name()
		}
	}
}

// orphans are the sockets among these that nobody was seen to hold.
func (c *census) orphans(all []found) map[uint32]bool {
	out := map[uint32]bool{}
	for _, f := range all {
		if f.Inode != 0 && len(c.holders[f.Inode]) == 0 {
			out[f.Inode] = true
		}
	}
	return out
}

// lookAgain looks once more for who holds these sockets: they were opened, or handed to another process, after the pass.
func (c *census) lookAgain(ctx context.Context, proc fs.FS, missing map[uint32]bool) {
	again := newCensus()
	pids, _ := process.Numbers(proc, ".") // was possible a moment ago; if not, they stay without owner
	for _, pid := range pids {
		if ctx.Err() != nil {
			return
		}
		_ = again.held(proc, pid) // who may not be looked into is known from the pass
	}
	for socket := range missing {
		c.holders[socket] = again.holders[socket]
	}
}

// unseen says that processes may not be looked into; nil if there are none.
func (c *census) unseen() error {
	if len(c.hidden) == 0 {
		return nil
	}
	return fmt.Errorf("%d processes may not be looked into, so their sockets have no owner and their network namespaces may be missing: %w (%w)",
		len(c.hidden), firewall.ErrPermission, unix.EACCES)
}
