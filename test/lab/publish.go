package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// publication is a published port of Host: it leads to a port of Container.
type publication struct {
	protocol   string
	port, into uint16
}

// loadDockerTable loads Host's table "dockerlike" with the published ports.
func (w *World) loadDockerTable() error {
	cmd := w.Host.Command(w.Host.ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(w.dockerTable())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lab: loading the table dockerlike: %w\n%s", err, out)
	}
	return nil
}

// Publish leads a port of every address of Host to a port of Container, for "tcp", "udp" or "sctp"
// and both families. Like Docker, it uses DNAT in prerouting, and in output for Host itself.
func (w *World) Publish(protocol string, port, into uint16) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.published = append(w.published, publication{protocol, port, into})
	if err := w.loadDockerTable(); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// dockerTable returns the whole table. Loading it replaces the table in one transaction.
func (w *World) dockerTable() string {
	four, six := w.Container.Addr4(), w.Container.Addr6()
	var rules strings.Builder
	for _, p := range w.published {
		match := fmt.Sprintf("fib daddr type local iifname != docker0 %s dport %d",
			p.protocol, p.port)
		fmt.Fprintf(&rules, "\t\tmeta nfproto ipv4 %s dnat ip to %s\n",
			match, netip.AddrPortFrom(four, p.into))
		fmt.Fprintf(&rules, "\t\tmeta nfproto ipv6 %s dnat ip6 to %s\n",
			match, netip.AddrPortFrom(six, p.into))
	}
	return fmt.Sprintf(`table inet dockerlike
delete table inet dockerlike
table inet dockerlike {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
%s	}
	chain output {
		type nat hook output priority -100; policy accept;
%s	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 172.17.0.0/24 oifname != docker0 masquerade
		ip6 saddr fd00:17::/64 oifname != docker0 masquerade
	}
}
`, rules.String(), strings.ReplaceAll(rules.String(), "iifname != docker0 ", ""))
}
