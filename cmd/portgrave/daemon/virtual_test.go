package daemon

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
)

// Services of IPVS that come and go are followed, also after a rollback, and leave in the history
// what people have applied.
func TestServicesOfIPVSAreFollowed(t *testing.T) {
	service := func(at string) firewall.VirtualService {
		return firewall.VirtualService{Protocol: firewall.TCP, At: netip.MustParseAddrPort(at)}
	}
	document := func(source string) string {
		return fmt.Sprintf(
			"version: 1\nunlisted: deny\nservices: [{name: metrics, port: 9090, allow: [%s]}]\n",
			source,
		)
	}
	f := &followed{running: startSaying(t, document("10.0.0.0/8"), nil)}
	holds := func(when, source string, want ...firewall.VirtualService) {
		t.Helper()
		f.within(20*time.Second, when, func() bool {
			return f.kernel.Held() != nil && slices.Equal(f.kernel.Held().Virtual, want) &&
				f.sources() == source
		})
	}
	expect := func(when, source string, want ...firewall.VirtualService) {
		t.Helper()
		f.served.Store(&want)
		holds(when, source, want...)
	}
	one, two := service("10.96.0.1:443"), service("[fd00:96::a]:53")
	expect("one comes", "10.0.0.0/8", one)
	expect("another comes", "10.0.0.0/8", one, two)
	f.says(func() (string, error) { return document("192.0.2.0/24"), nil })
	f.post("/v1/apply", host.ApplyRequest{Reason: "by hand"}, http.StatusOK)
	holds("another policy", "192.0.2.0/24", one, two)
	expect("one goes", "192.0.2.0/24", two)
	_, history := f.get("/v1/history")
	if n := strings.Count(history, `"generation":`); n != 2 ||
		!strings.Contains(history, "by hand") {
		t.Errorf("the history has %d generations: %s", n, history)
	}
	f.post("/v1/rollback", host.RollbackRequest{}, http.StatusOK)
	holds("rolled back", "10.0.0.0/8", two)
	expect("none is left", "10.0.0.0/8")
}
