package main

import (
	"net/netip"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// explain follows one packet, and its answer, through every rule of the host. Exit code 2 unless
// the connection comes about for certain.
func explain(inv *invocation) error {
	packet, err := explainedPacket(inv)
	if err != nil {
		return err
	}
	sources, err := inv.explainedSources(packet)
	if err != nil {
		return err
	}
	inv.settle()
	host, done, err := readHost(inv.ctx)
	defer done()
	if err != nil {
		return err
	}
	in := audit.Input{
		Rules:   host.Rules,
		Host:    host.Host,
		Sockets: host.Sockets,
		IPVS:    host.IPVS,
		Enter:   host.Enter,
	}
	for _, u := range host.Sockets.Unread {
		inv.screen.warnf("%v", u)
	}
	if sources.Len() > 0 {
		return explainSources(inv, in, packet, sources)
	}
	if packet, err = audit.Locate(host.Host, packet); err != nil {
		return usagef("%w", err)
	}
	x, err := audit.Explain(in, packet)
	if err != nil {
		return err
	}
	one, err := address.New(netip.PrefixFrom(x.From, x.From.BitLen()))
	if err != nil {
		return err
	}
	newPlacer(inv).place(&x, one)
	if inv.screen.json {
		if err := inv.screen.object(x); err != nil {
			return err
		}
	} else {
		from := x.From.String()
		printExplanation(inv.screen, x, from, from, inv.cli.Bool("path"))
	}
	if !x.Connects {
		return errReport
	}
	return nil
}

func explainedPacket(inv *invocation) (p audit.Packet, err error) {
	if p.Protocol, err = firewall.ParseProtocol(inv.cli.String("protocol")); err != nil {
		return p, usagef("--protocol: %w", err)
	}
	if !p.Protocol.HasPorts() && inv.cli.IsSet("port") {
		return p, usagef("%s has no ports: leave --port out", p.Protocol)
	}
	for _, name := range []string{"from", "port"} {
		if !inv.cli.IsSet(name) && (name == "from" || p.Protocol.HasPorts()) {
			return p, usagef(
				"--%s is missing: write portgrave explain --from 203.0.113.7 --port 9090",
				name,
			)
		}
	}
	// What isn't an address names several: see explainedSources.
	p.From, _ = netip.ParseAddr(inv.cli.String("from"))
	if inv.cli.IsSet("to") {
		if p.Destination, err = inv.addressOf("to"); err != nil {
			return p, err
		}
	}
	if p.Protocol.HasPorts() {
		port, err := inv.portOf("port")
		if err != nil {
			return p, err
		}
		p.Protocol, p.Port = port.Protocol, port.First
	}
	p.Interface, err = inv.interfaceOf("interface")
	return p, err
}
