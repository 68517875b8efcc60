package e2e

import (
	"testing"

	"github.com/portgrave/portgrave/test/lab"
)

// Everybody sets the packet mark, each in another way: CNI portmap and netavark 0x2000, mwan3
// 0x3f00. It says nothing about what the policy refuses, and stays as it is.
func TestMarkOfOthers(t *testing.T) { onEveryBackend(t, testMarkOfOthers) }

func testMarkOfOthers(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090, 9091)
	w.Office.ListenTCP(9099)
	w.Office.ListenUDP(9099)
	// Marks of all bits, set before anybody could look, and looked at behind everybody.
	w.Host.NFT(`table inet marking {
	chain marks {
		type filter hook prerouting priority -190; policy accept;
		meta mark set 0xffffffff
	}
	chain keptHere {
		type filter hook input priority 300; policy accept;
		iifname != "lo" meta mark != 0xffffffff counter drop
	}
	chain keptThrough {
		type filter hook forward priority 300; policy accept;
		meta mark != 0xffffffff counter drop
	}
}`)
	for _, mode := range refusals {
		w.apply("refuse: " + mode.refuse + officeOnly)
		w.expect(both,
			ask{lab.Open, w.Office, office4, inside4, 9090}, // allowed
			ask{lab.Open, w.Office, office6, inside6, 9090},
			ask{mode.want, w.Internet, whichever, host4, 9090}, // refused
			ask{mode.want, w.Internet, whichever, host6, 9090},
			ask{lab.Open, w.Internet, whichever, host4, 9091}, // unlisted
			ask{lab.Open, w.Internet, whichever, host6, 9091},
			ask{lab.Open, w.Internet, whichever, office4, 9099}, // routed
			ask{lab.Open, w.Internet, whichever, office6, 9099})
	}
}
