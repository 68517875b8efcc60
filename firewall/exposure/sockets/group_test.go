package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink/inetdiag"
	"github.com/portgrave/portgrave/firewall/process"
)

// at is a socket found; its cookie is its inode.
func at(p firewall.Protocol, address string, inode uint32, bound ...string) found {
	f := found{
		Socket: inetdiag.Socket{
			Protocol: p,
			Local:    netip.MustParseAddrPort(address),
			Inode:    inode,
			UID:      7,
		},
		in: Namespace{Inode: 1},
	}
	binary.NativeEndian.PutUint32(f.ID[40:], inode)
	for _, a := range bound {
		f.Bound = append(f.Bound, netip.MustParseAddr(a))
	}
	return f
}

func with(f found, change func(*found)) found { change(&f); return f }

// village is a /proc: systemd, a server that runs as two users in three processes, and one that
// can't be described any more.
func village() fstest.MapFS {
	proc := fstest.MapFS{}
	for pid, x := range map[int]struct{ name, uid, cgroup string }{
		1: {"systemd", "0", "/init.scope"}, 20: {"nginx", "0", "/system.slice/nginx.service"},
		21: {"nginx", "33", "/system.slice/nginx.service"}, 22: {"nginx", "33", "/system.slice/nginx.service"},
		30: {"web", "33", "/system.slice/docker-" + strings.Repeat("a", 64) + ".scope"},
	} {
		dir := fmt.Sprint(pid)
		proc[dir+"/comm"] = &fstest.MapFile{Data: []byte(x.name + "\n")}
		proc[dir+"/status"] = &fstest.MapFile{
			Data: []byte("Tgid:\t" + dir + "\nUid:\t" + x.uid + "\t0\t0\t0\n"),
		}
		proc[dir+"/cgroup"] = &fstest.MapFile{Data: []byte("0::" + x.cgroup + "\n")}
	}
	return proc
}

func TestGroup(t *testing.T) {
	const wild, wild6 = "0.0.0.0:80", "[::]:80"
	for name, c := range map[string]struct {
		found   []found
		holders map[uint32][]int
		hidden  map[int]bool
		want    string // lines, and owners: name user pids
	}{
		"nothing": {},
		"a server in several processes": {[]found{at(tcp, wild, 5)}, map[uint32][]int{5: {20, 21, 22}}, nil,
			"tcp 0.0.0.0:80: nginx u0 [20], nginx u33 [21 22]"},
		"a shared port": {[]found{at(tcp, wild, 5), at(tcp, wild, 6)}, map[uint32][]int{5: {21}, 6: {20}}, nil,
			"tcp 0.0.0.0:80 x2: nginx u0 [20], nginx u33 [21]"},
		"the same socket twice": {[]found{at(tcp, wild, 5), at(tcp, wild, 5)}, map[uint32][]int{5: {20}}, nil, "tcp 0.0.0.0:80: nginx u0 [20]"},
		"activated and running": {[]found{at(tcp, wild, 5)}, map[uint32][]int{5: {1, 20}}, nil, "tcp 0.0.0.0:80: nginx u0 [20], systemd u0 [1]"},
		"activated":             {[]found{at(tcp, wild, 5)}, map[uint32][]int{5: {1}}, nil, "tcp 0.0.0.0:80: systemd u0 [1]"},
		"a container":           {[]found{at(tcp, wild, 5)}, map[uint32][]int{5: {30}}, nil, "tcp 0.0.0.0:80: web u33 docker aaaaaaaaaaaa [30]"},
		"an owner that has ended": {[]found{at(tcp, wild, 5)}, map[uint32][]int{5: {99}}, nil,
			"tcp 0.0.0.0:80:   [99]"},
		"the kernel's own": {[]found{at(udp, wild, 5)}, nil, nil, "udp 0.0.0.0:80: no process that can be seen holds it: the kernel's own (NFS, WireGuard, VXLAN, …), or a process in hiding"},
		"no inode":         {[]found{at(udp, wild, 0)}, map[uint32][]int{5: {20}}, nil, "udp 0.0.0.0:80: no process that can be seen holds it: the kernel's own (NFS, WireGuard, VXLAN, …), or a process in hiding"},
		"hidden processes": {[]found{at(udp, wild, 5)}, nil, map[int]bool{8: true, 9: true}, "udp 0.0.0.0:80: no process that may be looked into holds it, and 2 may not (this needs CAP_SYS_PTRACE)"},
		"one of two is known": {[]found{at(udp, wild, 5), at(udp, wild, 6)}, map[uint32][]int{6: {20}}, map[int]bool{8: true},
			"udp 0.0.0.0:80 x2: nginx u0 [20]; 1 of 2 sockets: no process that may be looked into holds it, and 1 may not (this needs CAP_SYS_PTRACE)"},
		"what keeps listeners apart": {[]found{at(tcp, wild, 5), at(tcp, wild6, 5), with(at(tcp, wild6, 6), func(f *found) { f.V6Only = true }), at(udp, wild, 5), at(tcp, "0.0.0.0:81", 5),
			with(at(tcp, wild, 6), func(f *found) { f.device = "eth0" }), with(at(tcp, wild, 6), func(f *found) { f.in.Inode = 2 })}, map[uint32][]int{5: {20}, 6: {30}}, nil,
			"tcp 0.0.0.0:80: nginx u0 [20]\ntcp 0.0.0.0:80 on eth0: web u33 docker aaaaaaaaaaaa [30]\ntcp [::]:80: nginx u0 [20]\ntcp [::]:80 v6only: web u33 docker aaaaaaaaaaaa [30]\n" +
				"tcp 0.0.0.0:81: nginx u0 [20]\nudp 0.0.0.0:80: nginx u0 [20]\ntcp 0.0.0.0:80: web u33 docker aaaaaaaaaaaa [30]"},
		"the current namespace first, then the host's": {[]found{at(tcp, wild, 5), with(at(tcp, "0.0.0.0:81", 5), func(f *found) { f.in = Namespace{Inode: 3, Host: true} }),
			with(at(tcp, "0.0.0.0:82", 5), func(f *found) { f.in = Namespace{Inode: 9, Current: true} })}, map[uint32][]int{5: {20}}, nil,
			"tcp 0.0.0.0:82: nginx u0 [20]\ntcp 0.0.0.0:81: nginx u0 [20]\ntcp 0.0.0.0:80: nginx u0 [20]"},
		"SCTP with several addresses": {[]found{at(firewall.SCTP, wild, 5, "192.0.2.1", "2001:db8::1")}, map[uint32][]int{5: {20}}, nil,
			"sctp 192.0.2.1:80: nginx u0 [20]\nsctp [2001:db8::1]:80: nginx u0 [20]"},
	} {
		r := process.Reader{Proc: village(), User: func(uid string) string { return "u" + uid }}
		list := group(
			c.found,
			newPeople(
				r,
				&census{holders: c.holders, hidden: c.hidden, lacks: "this needs CAP_SYS_PTRACE"},
			),
		)
		var got []string
		for i, line := range lines(list) {
			var parts []string
			for _, o := range list[i].Owners {
				s := o.Name + " " + o.User
				if container := o.Container.String(); container != "" {
					s += " " + container
				}
				parts = append(parts, fmt.Sprintf("%s %v", s, o.PIDs))
			}
			owners := strings.Join(parts, ", ")
			if owners != "" && list[i].Unowned != "" {
				owners += "; "
			}
			got = append(got, line+": "+owners+list[i].Unowned)
			if list[i].User != "u7" {
				t.Errorf("%s: made by %q", name, list[i].User)
			}
		}
		if diff := cmp.Diff(c.want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCensus(t *testing.T) {
	link := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
	}
	proc := fstest.MapFS{
		"1/ns/net": link(
			"net:[1]",
		), "1/task/1/x": {}, "1/fd/3": link("socket:[55]"), "1/fd/4": link("socket:[55]"), "1/fd/5": link("/dev/null"), "1/fd/6": link("net:[3]"),
		// threads in two namespaces by turns
		"2/ns/net": link(
			"net:[1]",
		), "2/task/2/ns/net": link("net:[1]"), "2/task/3/ns/net": link("net:[2]"), "2/task/4/ns/net": link("net:[1]"), "2/task/5/ns/net": link("net:[2]"),
		"2/fd/1": link("socket:[55]"), "2/fd/2": link("socket:[56]"),
		"9/ns/net": link("net:[2]"), "9/fd/1": link("net:[nonsense]"),
		"11/comm": {Data: []byte("it has ended")},
	}
	c := newCensus()
	if err := errors.Join(c.homes(t.Context(), proc), c.holdings(t.Context(), proc)); err != nil {
		t.Fatal(err)
	}
	c.mounted(
		[]mount{
			{2, "/run/netns/blue"},
			{2, "/var/lib/x/other"},
			{4, "/var/lib/x/four"},
			{4, "/run/netns/green"},
		},
	)
	if diff := cmp.Diff(map[uint32][]int{55: {1, 2}, 56: {2}}, c.holders); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
	want := map[uint64]place{
		1: {1, []string{"1/ns/net", "2/ns/net"}, "", 1, 2, false},
		2: {
			2,
			[]string{
				"2/task/3/ns/net",
				"9/ns/net",
				"thread-self/root/run/netns/blue",
				"thread-self/root/var/lib/x/other",
			},
			"blue",
			2,
			2,
			false,
		},
		3: {3, []string{"1/fd/6"}, "", 0, 0, false},
		4: {
			4,
			[]string{"thread-self/root/var/lib/x/four", "thread-self/root/run/netns/green"},
			"green",
			0,
			0,
			false,
		},
	}
	got := map[uint64]place{}
	for inode, p := range c.places {
		got[inode] = *p
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(place{})); diff != "" {
		t.Errorf("places (-want +got):\n%s", diff)
	}
	if len(c.hidden) != 0 || c.unseen() != nil {
		t.Errorf("hidden %v", c.hidden)
	}
	for n := range 3 * maxWays { // many processes in one namespace are not all remembered
		c.place(7, fmt.Sprint(n))
	}
	if n := len(c.places[7].ways); n != maxWays {
		t.Errorf("%d ways", n)
	}
}

func TestNamespaceMounts(t *testing.T) {
	const mountinfo = `24 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
100 24 0:4 net:[4026532201] /run/netns/blue rw shared:50 - nsfs nsfs rw
101 24 0:4 net:[4026532202] /run/docker/netns/0123456789ab rw - nsfs nsfs rw
102 24 0:4 mnt:[4026532203] /run/snapd/ns/x.mnt rw - nsfs nsfs rw
103 24 0:4 net:[4026532204] /run/netns/a\040b\134c rw master:1 propagate_from:2 - nsfs nsfs rw
104 24 0:4 net:[4026532205] /tmp/net:[1] rw - ext4 nsfs rw
105 24 0:4 net:[x] /run/netns/x rw - nsfs nsfs rw
106 24 0:4 - nsfs nsfs
nonsense`
	want := []mount{
		{4026532201, "/run/netns/blue"},
		{4026532202, "/run/docker/netns/0123456789ab"},
		{4026532204, `/run/netns/a b\c`},
	}
	got := namespaceMounts(mountinfo)
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
	if got[0].name() != "blue" {
		t.Error(got[0].name())
	}
}

func TestUnseenProcesses(t *testing.T) {
	for want, hidden := range map[string]map[int]bool{
		"": {},
		"process 1 may not be looked into, so its sockets have no owner and its network namespace may " +
			"be missing (why)": {1: true},
		"2 processes may not be looked into, so their sockets have no owner and their network " +
			"namespaces may be missing (why)": {1: true, 7: true},
	} {
		got := ""
		if err := (&census{hidden: hidden, lacks: "why"}).unseen(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
