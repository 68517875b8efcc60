package nftables

import (
	"context"
	"testing"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"golang.org/x/sys/unix"
)

// Without CAP_NET_ADMIN the kernel tells nothing, and that is what the ruleset says.
func TestNoPrivilege(t *testing.T) {
	backendtest.Isolate(t) // this thread is never used again
	conn := dial(t)
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	rs := &exposure.Ruleset{}
	if err := Read(context.Background(), conn, rs, Options{}); err != nil {
		t.Fatal(err)
	}
	if len(rs.Missing) != 1 ||
		rs.Missing[0] != (exposure.Missing{What: "nf_tables", Why: "operation not permitted"}) ||
		len(rs.Tables) != 0 {
		t.Errorf("%+v", rs)
	}
}
