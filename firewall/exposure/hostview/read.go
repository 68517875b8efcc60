package hostview

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// Conn is a connection to rtnetlink, or a test's answers.
type Conn interface {
	Execute(netlink.Message) ([]netlink.Message, error)
}

// Read reads the host as it is now, in the network namespace of the calling thread.
func Read() (*exposure.Host, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("reading interfaces and routes: %w", err)
	}
	defer conn.Close()
	return ReadHost(conn, os.DirFS("/proc/sys"))
}

// ReadHost reads the host through a connection and a view of /proc/sys. Sysctls that aren't there have the value that their kernel behaves by:
// without net/ipv6 IPv6 is disabled on every interface.
func ReadHost(conn Conn, sysctls fs.FS) (*exposure.Host, error) {
	h := &exposure.Host{}
	for _, step := range []struct {
		what  string
		kind  uint16
		size  int // of the fixed header of requests and answers
		parse func(h *exposure.Host, m message) error
	}{
		{"interfaces", unix.RTM_GETLINK, unix.SizeofIfInfomsg, link},
		{"addresses", unix.RTM_GETADDR, unix.SizeofIfAddrmsg, address},
		{"routes", unix.RTM_GETROUTE, unix.SizeofRtMsg, route},
		{"routing rules", unix.RTM_GETRULE, sizeofRuleHeader, rule},
	} {
		messages, err := dump(conn, step.kind, step.size)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", step.what, err)
		}
		for _, m := range messages {
			if err := step.parse(h, m); err != nil {
				return nil, fmt.Errorf("reading %s: %w", step.what, err)
			}
		}
	}
	sortRules(h)
	if err := readSysctls(h, sysctls); err != nil {
		return nil, err
	}
	return h, nil
}

// message is one object of a dump: its fixed header, and its attributes.
type message struct {
	header     []byte
	attributes []byte
}

// dumpAttempts is how often a dump that changes underneath is taken before that is an error.
const dumpAttempts = 10

var errChanging = errors.New("it changed each time while it was read: try again")

func dump(conn Conn, kind uint16, size int) ([]message, error) {
	for range dumpAttempts {
		answers, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: netlink.Request | netlink.Dump},
			Data:   make([]byte, size), // family 0: all
		})
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EOPNOTSUPP) && kind == unix.RTM_GETRULE {
			return nil, nil // a kernel without policy routing
		}
		if err != nil {
			return nil, err
		}
		var out []message
		whole := true
		for _, a := range answers {
			whole = whole && a.Header.Flags&netlink.DumpInterrupted == 0
			if len(a.Data) < size {
				return nil, fmt.Errorf("an answer of %d bytes, where %d are the least", len(a.Data), size)
			}
			out = append(out, message{a.Data[:size], a.Data[size:]})
		}
		if whole {
			return out, nil
		}
	}
	return nil, errChanging
}
