package exposure

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestMain gives the legacy iptables programs a lock of their own: the machine's is for the
// machine's firewall. The tests run side by side and wait a moment for one another's lock (-w);
// most of their time they wait for probes that must not be answered.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "portgrave-exposure-")
	if err == nil {
		err = os.Setenv("XTABLES_LOCKFILE", filepath.Join(dir, "xtables.lock"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
