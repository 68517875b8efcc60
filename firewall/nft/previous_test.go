package nft

import (
	"os"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// What the version before left in the kernel is replaced where it stands: base chains at one hook
// only, a map for all protocols, sets that are declared otherwise. testdata/previous is what its
// export wrote.
func TestPreviousVersionIsReplaced(t *testing.T) {
	rate := &firewall.Rate{Count: 10, Per: 1e9, Burst: 10}
	tcp := func(port uint16) firewall.PortRange {
		return firewall.PortRange{Protocol: firewall.TCP, First: port, Last: port}
	}
	for file, unlisted := range map[string]firewall.Unlisted{
		"deny":   firewall.UnlistedDeny,
		"ignore": firewall.UnlistedIgnore,
	} {
		for _, then := range []firewall.Unlisted{
			unlisted, firewall.UnlistedIgnore, firewall.UnlistedDeny,
		} {
			t.Run(file+" to "+string(then), func(t *testing.T) {
				inNamespace(t)
				script, err := os.ReadFile("testdata/previous/" + file + ".nft")
				if err != nil {
					t.Fatal(err)
				}
				nftProgram(t, string(script), "-f", "-")
				b := open(t)
				s, err := firewall.State{
					Unlisted:    then,
					Refuse:      firewall.RefuseReject,
					Established: firewall.EstablishedCut,
					Essentials:  firewall.DefaultEssentials,
					Services: []firewall.Service{{Name: "metrics", Log: firewall.LogAll,
						Ports: []firewall.PortRange{
							tcp(9090),
							tcp(9100),
						}, Rate: rate, Sources: address.Must("10.20.0.0/16", "fd00:20::/48")}},
				}.Canonical()
				if err != nil {
					t.Fatal(err)
				}
				if p := planOf(t, b, &s); p.InSync() {
					t.Fatal("the rules of before pass for those of now")
				}
				apply(t, b, &s)
				if p := planOf(t, b, &s); !p.InSync() {
					t.Errorf("not in sync: %s", changesText(p))
				}
				apply(t, b, nil)
			})
		}
	}
}
