package main

import (
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host"
)

// A line of the effect says whom it concerns in as few words as there are, and never claims what
// can't be decided.
func TestEffectLine(t *testing.T) {
	all := address.Must("0.0.0.0/0", "::/0")
	office := address.Must("203.0.113.0/24", "2001:db8:10::/48")
	names := []namedSources{{"office", office}}
	for _, c := range []struct {
		effect host.Effect
		want   string
	}{
		{
			host.Effect{
				Process: "postgres", Gains: address.Must("10.20.0.0/16"),
				Loses: address.Must("192.0.2.0/24"), Connections: 2,
			},
			"tcp/22 postgres: 10.20.0.0/16 gains · 192.0.2.0/24 loses (2 connections now)",
		},
		{
			host.Effect{Process: "sshd", Gains: office, MayLose: address.Must("192.0.2.7/32")},
			"tcp/22 sshd: office gains · 192.0.2.7 may lose",
		},
		{
			host.Effect{Process: "sshd", Loses: all.Minus(office)},
			"tcp/22 sshd: everyone but office loses",
		},
		{
			host.Effect{Process: "sshd", MayGain: address.Must("0.0.0.0/0")},
			"tcp/22 sshd: everyone over IPv4 may gain",
		},
		{
			host.Effect{Process: "sshd", Loses: office.Union(address.Must("10.0.0.0/8"))},
			"tcp/22 sshd: office, 10.0.0.0/8 lose",
		},
		{host.Effect{Process: "sshd", BlockedBy: "ufw"},
			"tcp/22 sshd: opened, but ufw still refuses it"},
		{
			host.Effect{
				Process: "sshd", Gains: address.Must("10.0.0.0/8"), BlockedBy: "ufw", Blocked: office,
				Interfaces: []string{"eth0", "eth1"},
			},
			"tcp/22 sshd by eth0, eth1: 10.0.0.0/8 gains · opened, but ufw still refuses office",
		},
		{
			host.Effect{
				Process: "sshd", BlockedBy: "no route back", BlockedRule: "no route back",
				Blocked: office,
			},
			"tcp/22 sshd: opened, but office can't connect: no route back",
		},
		{
			host.Effect{Target: "172.17.0.2:80", Connections: 1},
			"tcp/22 → 172.17.0.2:80: 1 connection ends",
		},
	} {
		c.effect.Protocol, c.effect.Port = "tcp", 22
		if got := effectLine(c.effect, names); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
