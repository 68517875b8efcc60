package lab

import (
	"fmt"
	"net/netip"
	"strings"
)

// publication is one port of Host that leads to Container.
type publication struct {
	protocol   string
	port, into uint16
}

// masquerade loads Host's table "dockerlike" as it is before any port is published.
func (w *World) masquerade() error {
	cmd := w.Host.Command(w.Host.ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(w.dockerlike())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lab: loading the table dockerlike: %w\n%s", err, out)
	}
	return nil
}

// Publish leads a port of every address of Host to a port of Container, for "tcp", "udp" or
// "sctp", over both families, as Docker does for a published port: by DNAT in prerouting (and in
// output, for Host itself).
func (w *World) Publish(protocol string, port, into uint16) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.published = append(w.published, publication{protocol, port, into})
	if err := w.masquerade(); err != nil {
		w.t.Fatalf("%v", err)
	}
}

// dockerlike writes the whole table; loading it replaces the one before in one transaction.
func (w *World) dockerlike() string {
	four, six := w.Container.Addr4(), w.Container.Addr6()
	var rules strings.Builder
	for _, p := range w.published {
		match := fmt.Sprintf("fib daddr type local iifname != docker0 %s dport %d", p.protocol, p.port)
		fmt.Fprintf(&rules, "\t\tmeta nfproto ipv4 %s dnat ip to %s\n", match, netip.AddrPortFrom(four, p.into))
		fmt.Fprintf(&rules, "\t\tmeta nfproto ipv6 %s dnat ip6 to %s\n", match, netip.AddrPortFrom(six, p.into))
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
