package sockets

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/process"
)

// spot is where packets are taken; sockets on the same one are one Listener.
type spot struct {
	namespace uint64
	protocol  firewall.Protocol
	address   netip.Addr
	port      uint16
	v6only    bool
	device    string
}

// group makes Listeners of sockets: those on the same spot become one, an SCTP socket with several
// addresses becomes several.
func group(all []found, who *people) []Listener {
	bySpot := map[spot][]found{}
	for _, f := range all {
		addresses := f.Bound
		if len(addresses) == 0 {
			addresses = []netip.Addr{f.Local.Addr()}
		}
		for _, a := range addresses {
			// A dump that goes on while sockets come and go may give one twice.
			s := spot{f.in.Inode, f.Protocol, a, f.Local.Port(), f.V6Only, f.device}
			if !slices.ContainsFunc(
				bySpot[s],
				func(g found) bool { return g.Cookie() == f.Cookie() },
			) {
				bySpot[s] = append(bySpot[s], f)
			}
		}
	}
	out := make([]Listener, 0, len(bySpot))
	for s, sockets := range bySpot {
		l := Listener{
			Namespace: sockets[0].in,
			Protocol:  s.protocol,
			Address:   s.address,
			Port:      s.port,
			V6Only:    s.v6only,
			Interface: s.device,
			Sockets:   len(sockets),
			User:      who.User(strconv.FormatUint(uint64(sockets[0].UID), 10)),
		}
		l.Owners, l.Unowned = who.behind(sockets)
		out = append(out, l)
	}
	slices.SortFunc(out, Listener.compare)
	return out
}

func (l Listener) compare(m Listener) int {
	return cmp.Or(
		l.Namespace.compare(m.Namespace),
		cmp.Compare(l.Protocol, m.Protocol),
		cmp.Compare(l.Port, m.Port),
		l.Address.Compare(
			m.Address,
		),
		cmp.Compare(l.Interface, m.Interface),
		falseFirst(l.V6Only, m.V6Only),
	)
}

// compare puts the current namespace first, then the host's.
func (n Namespace) compare(m Namespace) int {
	return cmp.Or(
		falseFirst(m.Current, n.Current),
		falseFirst(m.Host, n.Host),
		cmp.Compare(n.Inode, m.Inode),
	)
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// people finds the owners of sockets, and looks at each process once.
type people struct {
	process.Reader
	*census
	known map[int]process.Process
}

func newPeople(r process.Reader, c *census) *people {
	return &people{r, c, map[int]process.Process{}}
}

func (p *people) look(pid int) process.Process {
	who, known := p.known[pid]
	if !known {
		if who = p.Look(pid); who.PID == 0 {
			who.PID = pid // it has just ended, or shows nothing else
		}
		p.known[pid] = who
	}
	return who
}

// behind is who holds some of the sockets, and why for others nobody is known.
func (p *people) behind(sockets []found) (owners []Owner, unowned string) {
	var pids []int
	missing := 0
	for _, s := range sockets {
		holders := p.holders[s.Inode]
		if len(holders) == 0 {
			missing++
		}
		pids = append(pids, holders...)
	}
	slices.Sort(pids)
	for _, pid := range slices.Compact(pids) {
		who := p.look(pid)
		i := slices.IndexFunc(owners, func(o Owner) bool { return alike(o.Process, who) })
		if i < 0 {
			i, owners = len(owners), append(owners, Owner{Process: who})
		}
		owners[i].PIDs = append(owners[i].PIDs, pid)
	}
	slices.SortStableFunc(
		owners,
		func(a, b Owner) int { return falseFirst(a.systemd(), b.systemd()) },
	)
	return owners, p.why(missing, len(sockets))
}

// alike reports whether two processes differ in their numbers and who logged in at most.
func alike(a, b process.Process) bool {
	b.PID, b.LoginUser, b.ThreadName = a.PID, a.LoginUser, a.ThreadName
	return a == b
}

// why says for what reason sockets have no owner; "" if none lacks one.
func (p *people) why(missing, of int) string {
	if missing == 0 {
		return ""
	}
	reason := "no process that can be seen holds it: the kernel's own (NFS, WireGuard, VXLAN, …), or a process in hiding"
	if n := len(p.hidden); n > 0 {
		reason = fmt.Sprintf(
			"no process that may be looked into holds it, and %d may not (%s)",
			n,
			p.lacks,
		)
	}
	if of > 1 {
		reason = fmt.Sprintf("%d of %d sockets: %s", missing, of, reason)
	}
	return reason
}
