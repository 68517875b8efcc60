package daemon

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
)

// TestScrapesAreBounded: the TCP address for metrics, which every user of the host may connect to,
// is guarded as the control socket is.
func TestScrapesAreBounded(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	var s scrape
	if err := s.serve(address, http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	var conns []net.Conn
	for range api.MaxReaders + api.MaxWaiting + 50 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		conns = append(conns, c)
	}
	count := map[string]int{}
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
		line, _ := bufio.NewReader(c).ReadString('\n')
		count[strings.TrimSpace(line)]++
	}
	if count["HTTP/1.1 404 Not Found"] != api.MaxReaders ||
		count["HTTP/1.1 503 Service Unavailable"] == 0 {
		t.Errorf("%v", count)
	}
}
