package daemon

import (
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/control"
	"github.com/portgrave/portgrave/firewall"
)

// Services of IPVS that come and go are followed, also after a rollback to a generation that knew others.
func TestServicesOfIPVSAreFollowed(t *testing.T) {
	service := func(at string) firewall.VirtualService {
		return firewall.VirtualService{Protocol: firewall.TCP, At: netip.MustParseAddrPort(at)}
	}
	f := &followed{running: startSaying(t, "version: 1\nunlisted: deny\nservices: [{name: metrics, port: 9090, allow: [10.0.0.0/8]}]\n", nil)}
	expect := func(when string, want ...firewall.VirtualService) {
		t.Helper()
		f.served.Store(&want)
		f.within(20*time.Second, when, func() bool {
			held := f.kernel.Held()
			return held != nil && slices.Equal(held.Virtual, want)
		})
	}
	one, two := service("10.96.0.1:443"), service("[fd00:96::a]:53")
	expect("one comes", one)
	expect("another comes", one, two)
	expect("one goes", two)
	f.post("/v1/rollback", control.RollbackRequest{}, http.StatusOK)
	expect("rolled back", two)
	expect("none is left")
}
