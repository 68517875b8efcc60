package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"
)

// A second connection that a conntrack helper has announced, as for FTP and TFTP, belongs to what
// the host started: under deny all of its packets come in, not just the first.
func TestExpectedConnections(t *testing.T) { onEveryBackend(t, testExpectedConnections) }

func testExpectedConnections(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9876)
	w.Office.ListenUDP(5300)
	for _, mode := range []string{"refuse: drop", "refuse: reject", "established: keep"} {
		w.apply("unlisted: deny\n" + mode + officeOnly)
		for _, six := range []bool{false, true} {
			from, to, family := inside4, office4, "ip"
			if six {
				from, to, family = inside6, office6, "ip6"
			}
			if n := w.talk(from); n != 0 {
				t.Errorf("%s, %s: unannounced, %d of 3 questions were answered", mode, family, n)
			}
			// What a helper would do when it has read the host's packet.
			w.Host.NFT(fmt.Sprintf(`table inet announce {
	ct expectation answer {
		protocol udp
		dport 9876
		timeout 1m
		size 8
		l3proto %s
	}
	chain output {
		type filter hook output priority 0; policy accept;
		udp dport 5300 ct expectation set "answer"
	}
}`, family))
			ctx, cancel := context.WithTimeout(context.Background(), longer)
			c, err := w.Host.Dial(ctx, "udp", netip.AddrPortFrom(to, 5300).String())
			cancel()
			if err == nil {
				_, err = c.Write([]byte("begin"))
			}
			if err != nil {
				t.Fatal(err)
			}
			if n := w.talk(from); n != 3 {
				t.Errorf("%s, %s: announced, %d of 3 questions were answered", mode, family, n)
			}
			_ = c.Close()
			w.Host.NFT("delete table inet announce")
		}
	}
}

// talk has the office ask the host's unlisted port three times in one flow, and counts the answers.
func (w *world) talk(to netip.Addr) (answers int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), longer)
	defer cancel()
	c, err := w.Office.Dial(ctx, "udp", netip.AddrPortFrom(to, 9876).String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for range 3 {
		if getsAnswer(c) {
			answers++
		}
	}
	return answers
}

func getsAnswer(c net.Conn) bool {
	if _, err := c.Write([]byte("question")); err != nil {
		return false
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := c.Read(make([]byte, 64))
	return err == nil
}
