package watch

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/process"
	"golang.org/x/sys/unix"
)

// Audit listens to the kernel's audit for who replaces tables of legacy xtables.
//
// The kernel writes a record for each replaced table (type NETFILTER_CFG), and with it one of the system call that did it
// (SYSCALL), with its executable and login user, so nothing of it is lost when the process is. It does so only where auditing is
// switched on (auditd does, or the boot parameter audit=1), and tells only listeners in the machine's first network namespace. The records do not say in which
// namespace a table was replaced: what is known to be another one is left out, but a container's may be reported as if it were ours. The
// consumer compares the rules anyway.
//
// It reads, and switches nothing on.
type Audit struct {
	conn  *netlink.Conn
	users func(uid string) string
	self  int // this process, whose programs' changes are left out
	near  func(pid, parent int) bool
	now   func() time.Time
}

// auditReadLog is AUDIT_NLGRP_READLOG (include/uapi/linux/audit.h).
const auditReadLog = 1

// Record types (include/uapi/linux/audit.h).
const (
	recordSyscall   = 1300 // AUDIT_SYSCALL
	recordEnd       = 1320 // AUDIT_EOE
	recordNetfilter = 1325 // AUDIT_NETFILTER_CFG
)

// OpenAudit listens from now on. The error wraps firewall.ErrPermission without CAP_AUDIT_READ, and firewall.ErrUnsupported on a kernel without audit.
func OpenAudit() (*Audit, error) {
	conn, err := netlink.Dial(unix.NETLINK_AUDIT)
	if err == nil {
		if err = conn.Join(auditReadLog); err != nil {
			_ = conn.Close()
		}
	}
	if errors.Is(err, firewall.ErrPermission) {
		err = fmt.Errorf("%w: it takes CAP_AUDIT_READ", err)
	}
	if err != nil {
		return nil, fmt.Errorf("listening to the kernel's audit: %w", netlink.Unsupported("audit", err))
	}
	return &Audit{conn: conn, users: process.UserName, self: os.Getpid(), near: sameNamespace, now: time.Now}, nil
}

// Close ends Next.
func (a *Audit) Close() error { return a.conn.Close() }

// auditSettle is how long replacements must be quiet before they are reported as one event: a restore replaces one table after the other.
const auditSettle = 100 * time.Millisecond

// Next waits until somebody else has replaced tables, and reports all that he and others replaced in the same moment. The author is known if there
// was but one. It returns the context's error when that ends.
func (a *Audit) Next(ctx context.Context) (Event, error) {
	defer context.AfterFunc(ctx, func() { _ = a.conn.SetReadDeadline(time.Unix(1, 0)) })()
	if err := a.conn.SetReadDeadline(time.Time{}); err != nil {
		return Event{}, fmt.Errorf("listening to the kernel's audit: %w", err)
	}
	var seen replacements
	for {
		datagram, err := a.conn.Receive(true)
		switch {
		case ctx.Err() != nil:
			return Event{}, ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded) && len(seen.done) > 0:
			return seen.event(), nil
		case errors.Is(err, os.ErrDeadlineExceeded): // set when an earlier context ended
			if err := a.conn.SetReadDeadline(time.Time{}); err != nil {
				return Event{}, fmt.Errorf("listening to the kernel's audit: %w", err)
			}
			continue
		case errors.Is(err, unix.ENOBUFS):
			return Event{At: a.now(), Lost: true, Summary: "audit records were lost"}, nil
		case errors.Is(err, os.ErrClosed):
			return Event{}, ErrClosed
		case err != nil:
			return Event{}, fmt.Errorf("listening to the kernel's audit: %w", err)
		}
		if a.take(&seen, datagram) && len(seen.done) > 0 {
			if err := a.conn.SetReadDeadline(a.now().Add(auditSettle)); err != nil {
				return Event{}, fmt.Errorf("listening to the kernel's audit: %w", err)
			}
		}
	}
}

// replacements collects records until an event is made of them.
type replacements struct {
	open map[string]replacement // by the records' common serial number
	done []replacement
}

// replacement is one or more tables that one system call replaced.
type replacement struct {
	at     time.Time
	tables []string
	author firewall.Author
	parent int
}

// maxOpen bounds the system calls whose last record has not come: they come right after each other.
const maxOpen = 64

// take takes in a datagram: one record. It reports whether that completed something.
func (a *Audit) take(r *replacements, datagram []byte) bool {
	kind, serial, fields := parseRecord(datagram)
	x, begun := r.open[serial]
	switch kind {
	case recordNetfilter:
		if fields["op"] != "xt_replace" {
			return false
		}
		if r.open == nil || len(r.open) > maxOpen {
			r.open = map[string]replacement{}
		}
		pid, _ := strconv.Atoi(fields["pid"])
		family := map[string]string{"2": "ipv4", "10": "ipv6"}[fields["family"]]
		x.at, x.author.PID, x.author.Command = a.now(), pid, fields["comm"]
		x.tables = append(x.tables, strings.TrimSpace(family+" "+fields["table"]))
		r.open[serial] = x
	case recordSyscall:
		if begun {
			x.author.Executable, x.author.User = fields["exe"], a.users(fields["uid"])
			if login := fields["auid"]; login != "" && login != process.NoLogin {
				x.author.LoginUser = a.users(login)
			}
			x.parent, _ = strconv.Atoi(fields["ppid"])
			r.open[serial] = x
		}
	case recordEnd:
		if !begun {
			return false
		}
		delete(r.open, serial)
		if x.parent == a.self || !a.near(x.author.PID, x.parent) {
			return false
		}
		x.author.At = x.at
		r.done = append(r.done, x)
		return true
	}
	return false
}

func (r *replacements) event() Event {
	first := r.done[0]
	e := Event{At: first.at, Ours: true, Author: first.author, LoginUser: first.author.LoginUser}
	var tables, programs []string
	for _, x := range r.done {
		tables = append(tables, x.tables...)
		program := fmt.Sprintf("%s (process %d)", x.author.Command, x.author.PID)
		if !slices.Contains(programs, program) {
			programs = append(programs, program)
		}
	}
	slices.Sort(tables)
	e.Summary = "legacy tables replaced: " + strings.Join(slices.Compact(tables), ", ")
	if len(programs) > 1 {
		e.Author, e.LoginUser = firewall.Author{}, ""
		e.Summary += "; by one or more of " + strings.Join(programs[:min(len(programs), maxTables)], ", ")
	}
	return e
}

// parseRecord reads a datagram: struct nlmsghdr, then "audit(1795500122.549:3): key=value key=\"value\" …". A value that is not quoted where others are
// is in hexadecimal digits, since it holds what can't be quoted.
func parseRecord(datagram []byte) (kind uint16, serial string, fields map[string]string) {
	if len(datagram) < unix.NLMSG_HDRLEN {
		return 0, "", nil
	}
	kind = binary.NativeEndian.Uint16(datagram[4:])
	if kind != recordSyscall && kind != recordEnd && kind != recordNetfilter {
		return kind, "", nil
	}
	text := string(bytes.TrimRight(datagram[unix.NLMSG_HDRLEN:], "\x00"))
	head, rest, ok := strings.Cut(text, "):")
	if !ok {
		return 0, "", nil
	}
	fields = map[string]string{}
	for _, word := range strings.Fields(rest) {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			continue
		}
		if quoted, isQuoted := strings.CutPrefix(value, `"`); isQuoted {
			value = strings.TrimSuffix(quoted, `"`)
		} else if key == "comm" || key == "exe" {
			value = unhex(value)
		}
		fields[key] = value
	}
	return kind, head, fields
}

func unhex(s string) string {
	b := make([]byte, 0, len(s)/2)
	for i := 0; i+1 < len(s); i += 2 {
		n, err := strconv.ParseUint(s[i:i+2], 16, 8)
		if err != nil {
			return s // not hexadecimal: as it stands
		}
		b = append(b, byte(n))
	}
	return string(b)
}

// sameNamespace is false if a process, or its parent when it is gone, is known to live in another network namespace.
func sameNamespace(pid, parent int) bool {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return true
	}
	for _, p := range []int{pid, parent} {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p)); err == nil {
			return ns == own
		}
	}
	return true
}
