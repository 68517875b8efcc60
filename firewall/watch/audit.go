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

// Audit listens to the kernel's audit for programs that replace tables of legacy xtables.
//
// The kernel writes a record for each replaced table (type NETFILTER_CFG), and one for the system
// call (SYSCALL) with the executable and login user, so the author is known even if the process has
// ended. It does so only if auditing is on (by auditd or the boot parameter audit=1), and only for
// listeners in the machine's first network namespace. The records don't name the namespace of the
// table. Tables that are known to be in another namespace are left out, but a container's table may
// be reported as ours; the consumer compares the rules anyway.
//
// Audit only reads; it never switches auditing on.
type Audit struct {
	conn  *netlink.Conn
	users func(uid string) string
	self  int // this process; changes by programs that it runs are left out
	// inOwnNamespace reports false if the process is known to be in another network namespace.
	inOwnNamespace func(pid, parent int) bool
	now            func() time.Time
}

// auditReadLog is AUDIT_NLGRP_READLOG (include/uapi/linux/audit.h).
const auditReadLog = 1

// Record types (include/uapi/linux/audit.h).
const (
	recordSyscall   = 1300 // AUDIT_SYSCALL
	recordEnd       = 1320 // AUDIT_EOE
	recordNetfilter = 1325 // AUDIT_NETFILTER_CFG
)

// OpenAudit starts listening. The error wraps firewall.ErrPermission without CAP_AUDIT_READ, and
// firewall.ErrUnsupported on a kernel without audit.
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
		return nil, fmt.Errorf(
			"listening to the kernel's audit: %w",
			netlink.Unsupported("audit", err),
		)
	}
	return &Audit{
		conn:           conn,
		users:          process.UserName,
		self:           os.Getpid(),
		inOwnNamespace: sameNamespace,
		now:            time.Now,
	}, nil
}

// Close ends Next.
func (a *Audit) Close() error { return a.conn.Close() }

// auditSettle is the quiet time after which replacements are reported as one event, because a
// restore replaces several tables in a row.
const auditSettle = 100 * time.Millisecond

// Next waits until another program has replaced tables, and reports all tables replaced in the same
// moment. The author is known if one process replaced them all. It returns the context's error if
// the context ends.
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

// replacements collects records until they make an event.
type replacements struct {
	open map[string]replacement // by the serial number that the records share
	done []replacement
}

// replacement is a system call that replaced one or more tables.
type replacement struct {
	at     time.Time
	tables []string
	author firewall.Author
	parent int
}

// maxOpenCalls bounds the system calls whose last record is missing. Their records come in a row.
const maxOpenCalls = 64

// take processes a datagram, which is one record. It reports whether a replacement is complete.
func (a *Audit) take(r *replacements, datagram []byte) bool {
	kind, serial, fields := parseRecord(datagram)
	x, begun := r.open[serial]
	switch kind {
	case recordNetfilter:
		if fields["op"] != "xt_replace" {
			return false
		}
		if r.open == nil || len(r.open) > maxOpenCalls {
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
		if x.parent == a.self || !a.inOwnNamespace(x.author.PID, x.parent) {
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
		programs = programs[:min(len(programs), maxTables)]
		e.Summary += "; by one or more of " + strings.Join(programs, ", ")
	}
	return e
}

// parseRecord reads a datagram: struct nlmsghdr, then "audit(1795500122.549:3): key=value
// key=\"value\" …". comm and exe without quotes are hexadecimal, because they contain characters
// that can't be quoted.
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
			return s // not hexadecimal
		}
		b = append(b, byte(n))
	}
	return string(b)
}

// sameNamespace reports false if a process, or its parent if it has ended, is known to be in
// another network namespace.
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
