package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// init makes this program an SSH server, as far as its name and port go, when it is called sshd.
func init() {
	if filepath.Base(os.Args[0]) != "sshd" {
		return
	}
	l, err := net.Listen("tcp", ":22")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening")
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() { _, _ = io.Copy(c, c) }()
	}
}

// startSSHServer has a process named sshd listen on the host.
func startSSHServer(t *testing.T, host *lab.Node) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(program)
	path := filepath.Join(t.TempDir(), "sshd")
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := host.Command(ctx, path)
	said, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		stop()
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = cmd.Wait() })
	if _, err := said.Read(make([]byte, 100)); err != nil {
		t.Fatalf("sshd: %v", err)
	}
}

// TestFightSparesSessions: while a small table stands, the client of a running SSH session is let
// in, and the rest of the long list is not.
func TestFightSparesSessions(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		s := startSparse(
			t,
			e,
			strings.Replace(longPolicy(), "port: 9091", "port: [22, 9091]", 1),
			"",
		)
		startSSHServer(t, s.w.Host)
		admin, other := netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("198.18.0.4")
		s.w.AddSources(s.w.Internet, netip.PrefixFrom(admin, 32))
		to := s.w.Host.At(22, false)
		s.mustLetIn([]netip.Addr{admin, other}, 22, true, 20*time.Second)
		session, err := s.w.Internet.Dial(
			context.Background(),
			"tcp",
			to.String(),
			lab.From(admin),
			lab.Timeout(10*time.Second),
		)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = session.Close() }()
		seen := 0
		for n := 0; seen < 5; n++ {
			if n == 200 {
				t.Fatalf("in %d deletions a small table was seen %d times", n, seen)
			}
			s.delete()
			for began := time.Now(); !s.refuses(22); {
				if time.Since(began) > 20*time.Second {
					t.Fatal("the foes still get in 20 s after a deletion")
				}
			}
			got := s.w.ProbeEach(
				s.w.Internet,
				[]lab.Question{{Source: other, To: to}, {Source: admin, To: to}},
				lab.Attempts(1),
			)
			if got[0] == lab.Open {
				continue // the full lists stand
			}
			seen++
			if got[1] != lab.Open {
				t.Errorf("the session's client is %v, and another of its list %v", got[1], got[0])
			}
		}
		// The session itself lived through all of it.
		_ = session.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := session.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(session, make([]byte, 1)); err != nil {
			t.Errorf("the session: %v", err)
		}
	})
}
