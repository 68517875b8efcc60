package audit

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// A comparison tells who gains and who loses, at which addresses and by which interfaces, and calls
// what can't be decided by that name.
func TestCompare(t *testing.T) {
	rules := func(text string) string {
		return "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n" +
			text + "COMMIT\n"
	}
	const from = "-A INPUT -p tcp -m tcp --dport 22 -s "
	for _, c := range []struct{ name, before, after, want string }{
		{"nothing", from + "10.0.0.0/8 -j ACCEPT\n", from + "10.0.0.0/8 -j ACCEPT\n", ""},
		{
			"gains and loses", from + "10.0.0.0/8 -j ACCEPT\n", from + "192.0.2.0/24 -j ACCEPT\n",
			"tcp/22 sshd: +[192.0.2.0/24] -[10.0.0.0/8]",
		},
		{
			"by one interface", from + "10.0.0.0/8 -j ACCEPT\n",
			from + "10.0.0.0/8 -j ACCEPT\n" + from + "192.0.2.0/24 -i eth0 -j ACCEPT\n",
			"tcp/22 sshd by [eth0]: +[192.0.2.0/24]",
		},
		{
			"at one address", from + "10.0.0.0/8 -j ACCEPT\n",
			from + "10.0.0.0/8 -d 198.51.100.10 -j ACCEPT\n",
			"tcp/22 sshd at [172.17.0.1]: -[10.0.0.0/8]",
		},
		{
			"may gain", "", from + "10.0.0.0/8 -m statistic --mode random --probability 0.5 -j ACCEPT\n",
			"tcp/22 sshd: ?+[10.0.0.0/8]",
		},
		{
			"may gain what it may have", from +
				"10.0.0.0/8 -m statistic --mode random --probability 0.5 -j ACCEPT\n",
			from + "10.0.0.0/8 -j ACCEPT\n", "tcp/22 sshd: ?+[10.0.0.0/8]",
		},
		{
			"may lose", from + "10.0.0.0/8 -m statistic --mode random --probability 0.5 -j ACCEPT\n", "",
			"tcp/22 sshd: ?-[10.0.0.0/8]",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{
				Rules:   fromFile(t, rules(c.before)),
				Host:    world(),
				Sockets: listening("sshd 0.0.0.0:22"),
			}
			got, err := Compare(context.Background(), in, fromFile(t, rules(c.after)), nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s := changesText(got.Changes); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
			other := func(r firewall.PortRange) bool { return r.First > 22 }
			got, err = Compare(context.Background(), in, fromFile(t, rules(c.after)), nil, other)
			if err != nil || len(got.Changes) > 0 {
				t.Errorf("of other ports: %v, %v", got.Changes, err)
			}
		})
	}
}

// A program with a socket for each IP version is compared socket by socket: what the one of IPv6
// takes says nothing about addresses of IPv4, even where only one audit tells addresses apart.
func TestCompareSocketsOfOneProgram(t *testing.T) {
	ruleset := func(text string) *exposure.Ruleset {
		return rules(t, "*filter\n:INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate ESTABLISHED "+
			"-j ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 "+text+" -j ACCEPT\nCOMMIT\n")
	}
	for _, order := range [][]string{
		{"sshd#7 0.0.0.0:22", "sshd#7 [::]:22"}, {"sshd#7 [::]:22", "sshd#7 0.0.0.0:22"},
	} {
		in := Input{
			Rules: ruleset("-s 10.0.0.0/8"), Host: withAddresses("198.51.100.20/24"),
			Sockets: listening(order...),
		}
		for i := range in.Sockets.Listeners {
			in.Sockets.Listeners[i].V6Only = in.Sockets.Listeners[i].Address.Is6()
		}
		got, err := Compare(context.Background(), in,
			ruleset("-s 10.0.0.0/8 -d 198.51.100.10"), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := "tcp/22 sshd at [172.17.0.1 198.51.100.20]: -[10.0.0.0/8]"
		if s := changesText(got.Changes); s != want {
			t.Errorf("%v:\ngot  %s\nwant %s", order, s, want)
		}
	}
}

func changesText(changes []Change) string {
	var lines []string
	for _, c := range changes {
		s := fmt.Sprintf("%s/%d %s", c.Protocol, c.Port, c.Process)
		if c.Addresses != nil {
			s += fmt.Sprintf(" at %v", c.Addresses)
		}
		if c.Interfaces != nil && c.Addresses == nil {
			s += fmt.Sprintf(" by %v", c.Interfaces)
		}
		s += ":"
		for _, x := range []struct {
			sign string
			set  address.Set
		}{{"+", c.Gains}, {"-", c.Loses}, {"?+", c.MayGain}, {"?-", c.MayLose}} {
			if x.set.Len() > 0 {
				s += fmt.Sprintf(" %s%v", x.sign, x.set.Strings())
			}
		}
		lines = append(lines, s)
	}
	return strings.Join(lines, "\n")
}
