package audit

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// An address for which duplicate address detection runs has no local route yet. The import treats
// it as it will be a moment later.
func TestImportCountsTentativeAddresses(t *testing.T) {
	const rules6 = "-A INPUT -p tcp --dport 22 -m limit --limit 3/minute -j ACCEPT\n"
	after := withAddresses("2001:db8:100::99/64", "fe80::99/64")
	during := withAddresses("2001:db8:100::99/64", "fe80::99/64")
	during.Routes = during.Routes[:len(during.Routes)-2]
	during.Routes = append(during.Routes, exposure.Route{
		Table: 254, Type: exposure.RouteUnicast, Dest: netip.MustParsePrefix("::/0"),
		NextHops: []exposure.NextHop{{Index: 2}},
	})
	during.Interfaces[1].Tentative = []netip.Addr{
		netip.MustParseAddr("2001:db8:100::99"), netip.MustParseAddr("fe80::99"),
	}
	want := documentOf(importOn(t, after, denyAll+rules6, denyAll+rules6, "sshd [::]:22"))
	got := documentOf(importOn(t, during, denyAll+rules6, denyAll+rules6, "sshd [::]:22"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-after +during):\n%s", diff)
	}
	during.Interfaces[1].Tentative = nil
	told := documentOf(importOn(t, during, denyAll+rules6, denyAll+rules6, "sshd [::]:22"))
	if told == want {
		t.Error("the address isn't told apart without this")
	}
}
