package netdump

import (
	"os"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

// own opens the calling thread's network namespace.
func own(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func inode(t *testing.T, f *os.File) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// A Dialer of another namespace opens its sockets there, a plain one here, and the caller stays where it was.
func TestIn(t *testing.T) {
	backendtest.Isolate(t)
	there := own(t)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	here := own(t)
	if inode(t, here) == inode(t, there) {
		t.Fatal("still in the same namespace")
	}
	for _, family := range []int{unix.NETLINK_SOCK_DIAG, unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER} {
		for _, c := range []struct {
			dial Dialer
			want *os.File
		}{{In(there), there}, {Dial, here}, {In(here), here}} {
			conn, err := c.dial(family)
			if err != nil {
				t.Fatal(err)
			}
			at, err := namespaceOf(conn)
			if err != nil || at != inode(t, c.want) {
				t.Errorf("family %d: the socket is in %d, %v; want %d", family, at, err, inode(t, c.want))
			}
			_ = conn.Close()
		}
	}
	if inode(t, own(t)) != inode(t, here) {
		t.Error("the caller was moved")
	}
}

func TestInNowhere(t *testing.T) {
	backendtest.Isolate(t)
	ordinary, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer ordinary.Close()
	closed := own(t)
	_ = closed.Close()
	for name, f := range map[string]*os.File{"no namespace": ordinary, "closed": closed} {
		if conn, err := In(f)(unix.NETLINK_ROUTE); err == nil {
			t.Errorf("%s: a socket", name)
			_ = conn.Close()
		}
	}
}
