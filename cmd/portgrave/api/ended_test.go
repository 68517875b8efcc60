package api

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/host"
)

// TestDaemonEnds checks what is said when the daemon ends amid a request: at once, after it has
// read some, and amid its answer.
func TestDaemonEnds(t *testing.T) {
	for name, serve := range map[string]func(c net.Conn){
		"at once":          func(net.Conn) {},
		"amid the request": func(c net.Conn) { _, _ = c.Read(make([]byte, 10)) },
		"amid the answer": func(c net.Conn) {
			_, _ = c.Read(make([]byte, 64<<10))
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"generation\": "))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l, err := net.Listen("unix", filepath.Join(dir, Socket))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					serve(c)
					_ = c.Close()
				}
			}()
			r := NewRemote(dir)
			large := &host.Policy{Text: make([]byte, 4<<20)}
			_, err = r.Apply(context.Background(), host.ApplyRequest{Policy: large})
			if err == nil || !strings.Contains(err.Error(), "may or may not have been made") {
				t.Errorf("apply: %v", err)
			}
			_, err = r.Plan(context.Background(), host.PlanRequest{Policy: large})
			if err == nil || !strings.Contains(err.Error(), "run the command again") {
				t.Errorf("plan: %v", err)
			}
			_, err = r.History(context.Background())
			if err == nil || !strings.Contains(err.Error(), "run the command again") {
				t.Errorf("history: %v", err)
			}
		})
	}
}
