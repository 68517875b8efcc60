package connections

import (
	"net"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
)

// Whether connections are tracked hangs on anybody's rules.
func TestTrackingIsSeen(t *testing.T) {
	backendtest.Isolate(t)
	backendtest.Program(t, "", "ip", "link", "set", "lo", "up")
	look := func(when string, idle bool) Tracking {
		t.Helper()
		c, err := net.Dial("udp4", "127.0.0.1:9") // by this thread, so in its namespace
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_, _ = c.Write([]byte("?"))
		got, err := ReadTracking(t.Context())
		if err != nil || got.Idle() != idle || got.Limit == 0 || (got.Count > 0) == idle ||
			(got.Fill() > 0) == idle {
			t.Errorf("%s: %+v, %v", when, got, err)
		}
		return got
	}
	look("at first", true)
	backendtest.Program(
		t,
		"table ip t {\n chain c {\n type filter hook input priority 0\n accept\n }\n }\n",
		"nft",
		"-f",
		"-",
	)
	look("with a rule that needs no tracking", true)
	backendtest.Program(
		t,
		"table ip t {\n chain c {\n ct state new accept\n }\n }\n",
		"nft",
		"-f",
		"-",
	)
	look("with one that needs it", false)
}

func TestFill(t *testing.T) {
	for want, c := range map[float64]Tracking{0: {}, 0.75: {Count: 48, Limit: 64}} {
		if got := c.Fill(); got != want {
			t.Errorf("%+v is filled to %v, want %v", c, got, want)
		}
	}
}
