package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"github.com/portgrave/portgrave/firewall/netlink/netlinktest"
	"golang.org/x/sys/unix"
)

// Records of iptables-legacy -t mangle -A PREROUTING -j ACCEPT and of an ip6tables-legacy-restore,
// as Linux 6.18 sends them.
var (
	iptablesAppends = []string{
		`1325 audit(1795500122.545:2): table=mangle family=2 entries=0 op=xt_register pid=11720 comm="iptables-legacy"`,
		`1300 audit(1795500122.545:2): arch=c000003e syscall=55 success=yes exit=0 a0=4 a1=0 a2=40 a3=7fff31833530 items=0 ppid=11702 pid=11720 auid=4294967295 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=4294967295 comm="iptables-legacy" exe="/usr/sbin/xtables-legacy-multi" key=(null)`,
		`1327 audit(1795500122.545:2): proctitle=69707461626C6573`,
		`1320 audit(1795500122.545:2): `,
		`1325 audit(1795500122.549:3): table=mangle family=2 entries=6 op=xt_replace pid=11720 comm="iptables-legacy"`,
		`1300 audit(1795500122.549:3): arch=c000003e syscall=54 success=yes exit=0 a0=4 a1=0 a2=40 a3=558b1d701bd0 items=0 ppid=11702 pid=11720 auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=4294967295 comm="iptables-legacy" exe="/usr/sbin/xtables-legacy-multi" key=(null)`,
		`1327 audit(1795500122.549:3): proctitle=69707461626C6573`,
		`1320 audit(1795500122.549:3): `,
	}
	ip6tablesRestores = []string{
		`1325 audit(1795500122.589:5): table=mangle family=10 entries=6 op=xt_replace pid=11721 comm="ip6tables-legac"`,
		`1300 audit(1795500122.589:5): arch=c000003e syscall=54 success=yes ppid=11702 pid=11721 auid=4294967295 uid=0 comm="ip6tables-legac" exe=2F746D702F6120622F78 key=(null)`,
		`1320 audit(1795500122.589:5): `,
	}
	nftAddsTable = []string{
		`1325 audit(1795500122.617:6): table=zz:2 family=1 entries=1 op=nft_register_table pid=11722 comm="nft"`,
		`1300 audit(1795500122.617:6): arch=c000003e syscall=46 success=yes ppid=11702 pid=11722 auid=4294967295 uid=0 comm="nft" exe="/usr/sbin/nft" key=(null)`,
		`1320 audit(1795500122.617:6): `,
	}
)

func encodeRecord(line string) []byte {
	kind, text, _ := strings.Cut(line, " ")
	n, _ := strconv.Atoi(kind)
	b := make([]byte, unix.NLMSG_HDRLEN)
	binary.NativeEndian.PutUint32(b, uint32(len(b)+len(text)))
	binary.NativeEndian.PutUint16(b[4:], uint16(n))
	return append(b, text...)
}

// fakeAudit returns an Audit, and a function that sends it records.
func fakeAudit(t *testing.T) (*Audit, func(lines ...string)) {
	t.Helper()
	pipe := netlinktest.NewPipe()
	users := map[string]string{"0": "root", "1000": "ana"}
	audit := &Audit{
		conn:           netlink.New(pipe),
		users:          func(uid string) string { return users[uid] },
		self:           4711,
		inOwnNamespace: func(int, int) bool { return true },
		now:            time.Now,
	}
	return audit, func(lines ...string) {
		for _, l := range lines {
			pipe.Deliver(encodeRecord(l), 0, nil)
		}
	}
}

func TestWhoReplacedATable(t *testing.T) {
	a, send := fakeAudit(t)
	send(nftAddsTable...)
	send(iptablesAppends...)
	e, err := a.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := Event{
		At:        e.At,
		Ours:      true,
		Summary:   "legacy tables replaced: ipv4 mangle",
		LoginUser: "ana",
		Author: firewall.Author{
			Command: "iptables-legacy", PID: 11720, Executable: "/usr/sbin/xtables-legacy-multi",
			User: "root", LoginUser: "ana", At: e.At,
		},
	}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	// Two programs in the same moment: either may have changed our rules.
	send(iptablesAppends...)
	send(ip6tablesRestores...)
	e, err = a.Next(context.Background())
	const summary = "legacy tables replaced: ipv4 mangle, ipv6 mangle; by one or more of " +
		"iptables-legacy (process 11720), ip6tables-legac (process 11721)"
	if err != nil || e.Author != (firewall.Author{}) || e.Summary != summary {
		t.Errorf("got %+v, %v", e, err)
	}
	// Changes by our own programs, and in other namespaces, are not reported.
	for _, exclude := range []func(){
		func() { a.self = 11702 },
		func() { a.self, a.inOwnNamespace = 0, func(int, int) bool { return false } },
	} {
		exclude()
		send(ip6tablesRestores...)
		ctx, stop := context.WithTimeout(context.Background(), 300*time.Millisecond)
		if e, err := a.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("reported %+v, %v", e, err)
		}
		stop()
	}
	a.inOwnNamespace = func(int, int) bool { return true }
	send(ip6tablesRestores...) // an executable with a space is in hexadecimal digits
	if e, err := a.Next(context.Background()); err != nil || e.Author.Executable != "/tmp/a b/x" {
		t.Errorf("got %+v, %v", e, err)
	}
}

// Listening to audit works even if auditing is off.
func TestAuditCanBeListenedTo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: listening to audit needs CAP_AUDIT_READ")
	}
	a, err := OpenAudit()
	if errors.Is(err, firewall.ErrUnsupported) || errors.Is(err, firewall.ErrPermission) {
		t.Logf("not here: %v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := a.Next(context.Background())
		ended <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("after closing: %v", err)
	}
}

func FuzzAuditRecord(f *testing.F) {
	for _, l := range append(append(iptablesAppends, ip6tablesRestores...), nftAddsTable...) {
		f.Add(encodeRecord(l))
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		a := Audit{
			users:          func(uid string) string { return uid },
			inOwnNamespace: func(int, int) bool { return true },
			now:            time.Now,
		}
		var r replacements
		for range 3 {
			if a.take(&r, b) {
				r.event()
			}
		}
	})
}
