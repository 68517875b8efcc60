package sockets

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/inetdiag"
	"github.com/portgrave/portgrave/firewall/netlink/netlinktest"
	"github.com/portgrave/portgrave/firewall/process"
	"golang.org/x/sys/unix"
)

// unwilling is a /proc that fails where a test wants it to; op is "open" or "readlink".
type unwilling struct {
	fs.FS
	processes []string
	fails     func(op, name string) error
}

func (u unwilling) Open(name string) (fs.File, error) {
	if err := u.fails("open", name); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return u.FS.Open(name)
}

func (u unwilling) ReadLink(name string) (string, error) {
	if err := u.fails("readlink", name); err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	if name == "1/ns/net" {
		return "net:[1]", nil // elsewhere
	}
	return fs.ReadLink(u.FS, name)
}

// ReadDir shows the processes of the test alone: of those of the machine nobody knows whether they
// may be looked into.
func (u unwilling) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := u.fails("open", name); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	entries, err := fs.ReadDir(u.FS, name)
	if name == "." {
		entries = slices.DeleteFunc(
			entries,
			func(e fs.DirEntry) bool { return !slices.Contains(u.processes, e.Name()) },
		)
	}
	return entries, err
}

func (u unwilling) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(u.FS, name) }

// mentions reports whether one of the errors says this and is that.
func mentions(list []error, text string, is error) bool {
	return slices.ContainsFunc(list, func(err error) bool {
		return strings.Contains(err.Error(), text) && (is == nil || errors.Is(err, is))
	})
}

// What can't be read of /proc is said, and the rest is there.
func TestUnwillingProc(t *testing.T) {
	isolate(t)
	open(t, socket{Protocol: tcp, Address: "0.0.0.0:80"})
	me := fmt.Sprint(os.Getpid())
	other := start(
		t,
		job{Hold: []socket{{Protocol: tcp, Address: "0.0.0.0:1001"}}},
		syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET},
	)
	for name, c := range map[string]struct {
		op, name string // with "*" at the end: all that begin so
		err      error
		says     string // of Unread
		is       error
		owned    bool   // the owner of the socket here is known
		unowned  string // else the reason
		other    bool   // the socket in the other namespace is listed
	}{
		"nothing fails":                         {"", "", nil, "", nil, true, "", true},
		"processes can't be listed":             {"open", ".", unix.EIO, "listing processes", unix.EIO, false, "no process that can be seen", false},
		"mounts can't be read":                  {"open", "thread-self/mountinfo", unix.EACCES, "only a mount keeps", unix.EACCES, true, "", true},
		"process 1 may not be looked into":      {"readlink", "1/ns/net", unix.EACCES, "process 1 may not be looked into", firewall.ErrPermission, true, "", true},
		"the owner may not be looked into":      {"open", me + "/fd", unix.EACCES, "process " + me + " may not be looked into, so its sockets", firewall.ErrPermission, false, "and 1 may not", true},
		"the owner's descriptors are gone":      {"readlink", me + "/fd/*", unix.ENOENT, "", nil, false, "no process that can be seen", true},
		"the other namespace may not be opened": {"open", fmt.Sprint(other) + "/ns/net", unix.EACCES, "opening it", firewall.ErrPermission, true, "", false},
		"the other namespace has ended":         {"open", fmt.Sprint(other) + "/ns/net", unix.ENOENT, "", nil, true, "", false},
	} {
		proc := unwilling{
			os.DirFS("/proc"),
			[]string{me, fmt.Sprint(other)},
			func(op, name string) error {
				prefix, all := strings.CutSuffix(c.name, "*")
				if op == c.op && (name == c.name || all && strings.HasPrefix(name, prefix)) {
					return c.err
				}
				return nil
			},
		}
		s, err := host{
			process.Reader{Proc: proc, User: process.UserName},
			netlink.Dial,
			netlink.In,
		}.read(
			t.Context(),
		)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		here := s.Current()
		if len(here) != 1 || here[0].Port != 80 {
			t.Errorf("%s: listed %v", name, lines(here))
			continue
		}
		owned := len(here[0].Owners) == 1 && here[0].Owners[0].PID == os.Getpid()
		if owned != c.owned || owned != (here[0].Unowned == "") ||
			!strings.Contains(here[0].Unowned, c.unowned) {
			t.Errorf("%s: %+v", name, here[0])
		}
		if found := slices.ContainsFunc(s.Listeners, func(l Listener) bool {
			return l.Port == 1001 && len(l.Owners) == 1 && l.Owners[0].PID == other
		}); found != c.other {
			t.Errorf("%s: the other namespace's socket is listed: %v", name, found)
		}
		if c.says != "" && !mentions(s.Unread, c.says, c.is) || c.says == "" && len(s.Unread) > 0 {
			t.Errorf("%s: %v", name, s.Unread)
		}
		if c.is == firewall.ErrPermission && len(s.Unread) != 1 {
			t.Errorf("%s is reported more than once: %v", name, s.Unread)
		}
		for _, err := range s.Unread {
			if strings.Contains(err.Error(), "CAP_NET_ADMIN") {
				t.Errorf("%s: CAP_NET_ADMIN is not what is missing: %v", name, err)
			}
		}
	}
}

// fake is a kernel that lists one TCP socket of IPv4, bound to interface 2, and fails where it is
// told to. what is "tcp4" and the like, or "links" or "addresses".
func fake(fails func(what string) (flags uint16, err error)) netlink.Dialer {
	return func(family int) (*netlink.Conn, error) {
		if _, err := fails("dial"); err != nil {
			return nil, netlink.Explain(err)
		}
		return netlinktest.Kernel(func(q netlinktest.Question) ([]netlink.Message, error) {
			what := map[uint16]string{unix.RTM_GETLINK: "links", unix.RTM_GETADDR: "addresses"}[q.Kind]
			if family == unix.NETLINK_SOCK_DIAG {
				what = firewall.Protocol(q.Data[1]).
					String() +
					map[byte]string{unix.AF_INET: "4", unix.AF_INET6: "6"}[q.Data[0]]
			}
			flags, err := fails(what)
			if err != nil {
				return nil, err
			}
			switch what {
			case "tcp4":
				m := make([]byte, inetdiag.MessageLen)
				m[0], m[1], m[5], m[40] = unix.AF_INET, unix.BPF_TCP_LISTEN, 80, 2
				return []netlink.Message{{Flags: flags, Header: m}}, nil
			case "links":
				m := make([]byte, unix.SizeofIfInfomsg)
				binary.NativeEndian.PutUint32(m[4:], 2)
				return []netlink.Message{
					{
						Flags:      flags,
						Header:     m,
						Attributes: netlink.AppendString(nil, unix.IFLA_IFNAME, "eth0"),
					},
				}, nil
			}
			return nil, nil
		}).Dial(family)
	}
}

// A kernel that can't, may not, or is in a hurry.
func TestUnwillingKernel(t *testing.T) {
	links := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
	}
	village := func(protocols string) fstest.MapFS {
		return fstest.MapFS{
			"thread-self/ns/net":    links("net:[1]"),
			"1/ns/net":              links("net:[1]"),
			"1/fd":                  {Mode: fs.ModeDir},
			"1/task":                {Mode: fs.ModeDir},
			"thread-self/mountinfo": {},
			"self/net/protocols":    {Data: []byte("protocol size\n" + protocols)},
		}
	}
	const usual, withSCTP = "TCP 1\nUDP 1\n", "TCP 1\nUDP 1\nSCTP 1\n"
	for name, c := range map[string]struct {
		fails     map[string]error
		flags     map[string]uint16
		protocols string
		says      string // one thing alone; "" is none
		device    string
		is        error // of Read
	}{
		"healthy":                            {nil, nil, withSCTP, "", "eth0", nil},
		"no SCTP":                            {map[string]error{"sctp4": unix.ENOENT, "sctp6": unix.ENOENT}, nil, usual, "", "eth0", nil},
		"SCTP that can't be listed":          {map[string]error{"sctp4": unix.ENOENT}, nil, withSCTP, "listing sctp sockets", "eth0", nil},
		"UDP that can't be listed":           {map[string]error{"udp6": unix.ENOENT}, nil, usual, "listing udp sockets", "eth0", nil},
		"IPv6 switched off":                  {map[string]error{"tcp6": unix.EAFNOSUPPORT, "udp6": unix.EAFNOSUPPORT, "sctp6": unix.EAFNOSUPPORT}, nil, usual, "", "eth0", nil},
		"interfaces that can't be listed":    {map[string]error{"links": unix.EIO}, nil, usual, "listing interfaces", "index 2", nil},
		"addresses that can't be listed":     {map[string]error{"addresses": unix.EIO}, nil, usual, "addresses", "eth0", nil},
		"always interrupted":                 {nil, map[string]uint16{"tcp4": unix.NLM_F_DUMP_INTR}, usual, "changed while they were read", "eth0", nil},
		"nothing may be read":                {map[string]error{"dial": unix.EPERM}, nil, usual, "", "", firewall.ErrPermission},
		"nothing can be read but what isn't": {map[string]error{"tcp4": unix.EIO, "tcp6": unix.EIO, "udp4": unix.EIO, "udp6": unix.EIO, "sctp4": unix.ENOENT, "sctp6": unix.ENOENT}, nil, usual, "", "", unix.EIO},
	} {
		h := host{
			processes: process.Reader{
				Proc: village(c.protocols),
				User: func(uid string) string { return uid },
			},
			here: fake(
				func(what string) (uint16, error) { return c.flags[what], c.fails[what] },
			),
		}
		s, err := h.read(t.Context())
		if !errors.Is(err, c.is) || c.is == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, c.is)
		}
		if c.is != nil {
			continue
		}
		if got := lines(s.Listeners); !slices.Equal(
			got,
			[]string{"tcp 0.0.0.0:80 on " + c.device},
		) ||
			!s.Listeners[0].Namespace.Host ||
			!s.Listeners[0].Namespace.Current {
			t.Errorf("%s: %+v", name, s.Listeners)
		}
		if c.says == "" && len(s.Unread) != 0 ||
			c.says != "" &&
				(len(s.Unread) != 1 || !mentions(s.Unread, c.says, nil) || !mentions(s.Unread, "network namespace host", nil)) {
			t.Errorf("%s: %v, want %q", name, s.Unread, c.says)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Read(ctx); !errors.Is(err, context.Canceled) || s.Listeners != nil {
		t.Errorf("%+v, %v", s, err)
	}
}
