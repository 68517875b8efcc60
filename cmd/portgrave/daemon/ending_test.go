package daemon

import (
	"net/http"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// The last line of the log says whether there are rules.
func TestLastWords(t *testing.T) {
	for name, x := range map[string]struct {
		requests []string
		want     string
	}{
		"as it began":         {nil, "ending; the rules stay in force"},
		"torn down":           {[]string{"/v1/teardown"}, "ending; there are no rules"},
		"torn down, and back": {[]string{"/v1/teardown", "/v1/apply"}, "ending; the rules stay in force"},
	} {
		t.Run(name, func(t *testing.T) {
			var r *running
			t.Cleanup(func() { // after the daemon has ended
				if lines := strings.TrimSpace(r.log.String()); !strings.HasSuffix(
					lines,
					x.want+`"`,
				) {
					t.Errorf("the log does not end with %q:\n%s", x.want, lines)
				}
			})
			r = start(t)
			for _, path := range x.requests {
				response, err := r.client().Post("http://portgrave"+path, "application/json", nil)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Fatal(path, response.Status)
				}
			}
		})
	}
}

// A row that no interface belongs to leaves no blank in the event.
func TestNewlyOpenWithoutInterface(t *testing.T) {
	var after audit.Report
	after.Exposures = []audit.Exposure{{Protocol: "tcp", Port: 80, Finding: audit.Undeclared}}
	after.Exposures[0].Reachable.Possible = address.Must("10.0.0.0/8")
	events := newlyOpen(audit.Report{}, after, nil)
	const want = "tcp/80 can now be reached from 10.0.0.0/8: undeclared"
	if len(events) != 1 || events[0].Summary != want {
		t.Errorf("%+v, want %q", events, want)
	}
}
