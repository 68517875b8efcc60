package nft

import (
	"fmt"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// leadsNowhere tells verdicts that go to a chain that is not there.
func leadsNowhere(r *ruleset) func(nftables.Expr) bool {
	return func(e nftables.Expr) bool {
		v, ok := e.(nftables.Immediate)
		return ok && v.Verdict.Chain != "" && r.chains[v.Verdict.Chain] == nil
	}
}

// Whatever a State has and lacks, the kernel takes its rules, and holds them then.
func TestEveryKindOfStateIsTaken(t *testing.T) {
	tcp := firewall.PortRange{Protocol: firewall.TCP, First: 9090, Last: 9090}
	vrrp, ping := firewall.PortRange{Protocol: 112}, firewall.PortRange{Protocol: firewall.Ping}
	service := func(name string, ports ...firewall.PortRange) firewall.Service {
		return firewall.Service{
			Name:    name,
			Ports:   ports,
			Log:     firewall.LogNone,
			Sources: address.Must("10.0.0.0/8", "fd00::/8"),
		}
	}
	named := service("named", tcp)
	named.Addresses, named.Interfaces = address.Must(
		"10.96.0.1/32",
		"fd00:96::1/128",
	), []string{
		"eth0",
	}
	other := service("other", tcp)
	other.Interfaces = []string{"eth1"}
	for name, services := range map[string][]firewall.Service{
		"nothing": nil, "a port": {service("a", tcp)}, "a protocol": {service("a", vrrp)}, "ping": {service("a", ping)},
		"all": {service("a", tcp), service("b", vrrp), service("c", ping)}, "an address and an interface": {named, other},
	} {
		for _, unlisted := range []firewall.Unlisted{
			firewall.UnlistedIgnore, firewall.UnlistedDeny,
		} {
			for _, direct := range [][]string{nil, {"docker0", "br-*"}} {
				t.Run(fmt.Sprintf("%s, %s, direct %v", name, unlisted, direct), func(t *testing.T) {
					s, err := firewall.State{
						Unlisted:    unlisted,
						Refuse:      firewall.RefuseReject,
						Established: firewall.EstablishedCut,
						Essentials:  firewall.DefaultEssentials,
						Direct:      direct,
						Services:    services,
					}.Canonical()
					if err != nil {
						t.Fatal(err)
					}
					inNamespace(t)
					b := open(t)
					apply(t, b, &s)
					if p := planOf(t, b, &s); !p.InSync() {
						t.Errorf("not in sync: %s", changesText(p))
					}
				})
			}
		}
	}
}
