package daemon

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/policy"
)

// manyAddresses is a list that is large enough to stand in a file of its own in the history.
func manyAddresses() string {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "10.%d.%d.%d\n", i>>15, i>>7&255, i<<1&255)
	}
	return b.String()
}

// A file that all generations of a long list share is written anew when it is damaged or lost,
// whether a trial runs or not: else nothing could be gone back to.
func TestSharedFileIsWrittenAnew(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"lost":    os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("x"), 0o600) },
	} {
		for _, confirm := range []string{"", "5s"} {
			t.Run(name+" "+confirm, func(t *testing.T) {
				t.Parallel()
				f := follow(t, policy.FollowNone)
				f.holds(manyAddresses())
				f.post("/v1/apply", nil, http.StatusOK)
				f.holds(manyAddresses() + "192.0.2.1\n")
				f.post("/v1/apply", host.ApplyRequest{Confirm: confirm}, http.StatusOK)
				files, err := filepath.Glob(filepath.Join(f.dir, "sets", "*.set"))
				if err != nil || len(files) != 1 {
					t.Fatalf("%v, %v", files, err)
				}
				if err := damage(files[0]); err != nil {
					t.Fatal(err)
				}
				if confirm == "" {
					if _, body := f.get("/v1/firewall"); !strings.Contains(
						body,
						"which 2 generations need",
					) {
						t.Errorf("status doesn't warn: %s", body)
					}
					f.post("/v1/rollback", nil, http.StatusOK)
				}
				f.within(30*time.Second, "the first list", func() bool {
					return !strings.Contains(f.sources(), "192.0.2.1")
				})
				if _, body := f.get("/v1/history"); strings.Contains(body, `"error"`) {
					t.Errorf("the history is damaged: %s", body)
				}
			})
		}
	}
}
