package sockets

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// crowd makes a host of 1 000 listening sockets in the current namespace, processes that share one
// more, and processes that have namespaces of their own with a socket in each.
func crowd(t testing.TB, processes, namespaces int) {
	isolate(t)
	for i := range 1000 {
		p, address := firewall.TCP, fmt.Sprintf("0.0.0.0:%d", 10000+i)
		if i%2 == 1 {
			p, address = firewall.UDP, fmt.Sprintf("[::]:%d", 10000+i)
		}
		open(t, socket{Protocol: p, Address: address})
	}
	for range processes {
		start(
			t,
			job{Hold: []socket{{Protocol: firewall.TCP, Address: "0.0.0.0:80", Shared: true}}},
			syscall.SysProcAttr{},
		)
	}
	for range namespaces {
		start(
			t,
			job{Hold: []socket{{Protocol: firewall.TCP, Address: "0.0.0.0:80"}}},
			syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET},
		)
	}
}

// BenchmarkRead: a whole host, 1 000 sockets and more.
func BenchmarkRead(b *testing.B) {
	for _, c := range []struct{ processes, namespaces int }{{0, 0}, {300, 0}, {0, 100}} {
		b.Run(
			fmt.Sprintf("processes=%d,namespaces=%d", c.processes, c.namespaces),
			func(b *testing.B) {
				crowd(b, c.processes, c.namespaces)
				b.ReportAllocs()
				listed := 0
				for b.Loop() {
					listed = len(read(b).Listeners)
				}
				b.ReportMetric(float64(listed), "listeners")
			},
		)
	}
}

// A thousand sockets and five more namespaces: each socket is listed once, with its owner. How long
// it takes is for BenchmarkRead to tell.
func TestManySockets(t *testing.T) {
	crowd(t, 0, 5)
	begin := time.Now()
	here := read(t).Current()
	t.Logf("1000 sockets here, 5 more namespaces: %v", time.Since(begin))
	if len(here) != 1000 {
		t.Fatalf("%d listeners, want 1000", len(here))
	}
	for _, l := range here {
		if len(l.Owners) != 1 || l.Unowned != "" {
			t.Fatalf("%+v", l)
		}
	}
}
