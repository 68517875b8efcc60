package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/policydiff"
)

// printed is what people see of changes.
func printed(all bool, services, restores []policydiff.Change) string {
	var out bytes.Buffer
	s := &screen{out: &output{to: &out}}
	p := newPlanPrinter(s, all, services, restores)
	p.services(services)
	p.restored(restores)
	return out.String()
}

func change(name string, a policydiff.Action, ports ...string) policydiff.Change {
	return policydiff.Change{Service: name, Action: a, Ports: ports}
}

func TestServiceLines(t *testing.T) {
	end := time.Date(2127, 1, 31, 12, 0, 0, 0, time.UTC)
	until := end.Local().Format("2006-01-02 15:04 MST")
	opening := func(network string, sources ...string) policydiff.Opening {
		return policydiff.Opening{Network: network, Sources: sources, Count: len(sources)}
	}
	part, lease, many := opening("office", "198.51.100.7/32"), opening("", "2001:db8::7/128"),
		policydiff.Opening{Network: "cdn", Part: true, Count: 70_000}
	part.Part = true
	lease.Lease, lease.Expires, lease.Ports = true, end, []string{"tcp/81"}
	added := change("web", policydiff.Add, "tcp/80")
	added.Opens = []policydiff.Opening{opening("office", "203.0.113.0/24"), opening("vpn")}
	added.Settings = []policydiff.Setting{
		{Key: "except", To: "203.0.113.66"}, {Key: "rate", To: "9/day"},
	}
	nobody := change("web", policydiff.Add, "tcp/80")
	nobody.Settings = []policydiff.Setting{{Key: "except", To: "203.0.113.66"}}
	removed := change("web", policydiff.Remove, "tcp/80")
	removed.Closes = []policydiff.Opening{opening("vpn")}
	removed.Settings = []policydiff.Setting{{Key: "unlisted", To: "deny"}}
	moved := change("web", policydiff.Remove, "tcp/80")
	moved.Settings = []policydiff.Setting{{Key: policydiff.KeyOwner, From: "web", To: "www"}}
	changed := change("web", policydiff.Modify, "tcp/80")
	changed.Opens = []policydiff.Opening{part, lease}
	changed.Closes = []policydiff.Opening{many}
	everyone := change("", policydiff.Modify)
	everyone.Settings = []policydiff.Setting{{Key: "interfaces", From: "", To: "eth0"}}
	for _, tt := range []struct {
		c    policydiff.Change
		want string
	}{
		{added, "+ web tcp/80 open to office, vpn except 203.0.113.66 rate 9/day"},
		{nobody, "+ web tcp/80 open to nobody"},
		{removed, "- web tcp/80 closed to everyone (it was open to vpn)"},
		{moved, "- web tcp/80 its ports belong to www"},
		{changed, "~ web tcp/80 + 198.51.100.7 of office, 2001:db8::7 on tcp/81 until " + until +
			" by a lease - 70000 sources of cdn"},
		{everyone, "~ (all services) interfaces every one → eth0"},
	} {
		got := printed(false, []policydiff.Change{tt.c}, nil)
		if got := strings.Join(strings.Fields(got), " "); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// Whatever is in a policy, no line is wider than a screen, and a service has few of them.
func TestPlanFits(t *testing.T) {
	long := strings.Repeat("n", 48)
	var services []policydiff.Change
	for i := range 1000 {
		c := change(fmt.Sprintf("%s%d", long[:44], i), policydiff.Modify)
		for port := range 300 {
			c.Ports = append(c.Ports, fmt.Sprintf("tcp/%d", 10_000+2*port))
		}
		for n := range 200 {
			o := policydiff.Opening{Network: fmt.Sprintf("%s%d", long[:40], n), Count: 5000}
			c.Opens, c.Closes = append(c.Opens, o), append(c.Closes, o)
		}
		c.Settings = []policydiff.Setting{{Key: "rate", From: "10/minute", To: "20/minute"}}
		services = append(services, c)
	}
	text := printed(false, services, services[:10])
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > minColumns {
			t.Fatalf("%d columns: %s", n, line)
		}
	}
	if n := strings.Count(text, "\n"); n > 1010*20 {
		t.Errorf("%d lines", n)
	}
}

func TestPlanAnswer(t *testing.T) {
	one := []policydiff.Change{change("web", policydiff.Add)}
	nft := &firewall.Author{Command: "nft", PID: 7, User: "root"}
	for want, d := range map[string]host.Difference{
		"Apply changes 1 service: 1 new.": {Services: one},
		"Apply changes 2 services: 1 changed, 1 removed.": {Services: []policydiff.Change{
			change("", policydiff.Modify), change("a", policydiff.Remove), change("b", policydiff.Modify)}},
		"The policy changes no service. Apply undoes what nft (process 7, user root) changed in the " +
			"kernel:": {
			Services: []policydiff.Change{}, Restores: one, Author: nft},
		"No service changes, but 3 objects of the kernel do (--rules shows them).": {
			Services: []policydiff.Change{}, Changes: []firewall.Change{{Count: 3}}},
		"Apply changes 3 objects of the kernel (--rules shows them). For which service can't be " +
			"told, since what was in force can't be read: torn.": {
			Unknown:  "what was in force can't be read: torn",
			Services: []policydiff.Change{}, Changes: []firewall.Change{{Count: 3}}},
		"Apply changes 3 objects of the kernel (--rules shows them). For which service can't be " +
			"told, since the daemon has another version than this program.": {
			Changes: []firewall.Change{{Count: 3}}},
	} {
		if got := planAnswer(d, false); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
