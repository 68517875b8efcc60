package audit

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
)

// A set of bans that packets fill when they are too fast becomes a rate, on the ports that fill it.
func TestImportRatesBans(t *testing.T) {
	everyone := address.Must("0.0.0.0/0")
	minute := &firewall.Rate{Count: 10, Per: time.Minute, Burst: 5}
	const add = "tcp dport 22 ct state new limit rate over 10/minute add @bans { ip saddr }"
	for _, tt := range []struct {
		name, rules string
		ssh, web    address.Set
		rate        *firewall.Rate
	}{
		{"drops, for one port", "  " + add + " drop\n  tcp dport 22 ip saddr @bans drop\n", everyone, everyone, minute},
		{"records, for one port", "  tcp dport 22 ip saddr @bans drop\n  " + add + "\n", everyone, everyone, minute},
		{"renews", "  tcp dport 22 ip saddr @bans update @bans { ip saddr } drop\n  " + add + "\n", everyone, everyone, minute},
		{"bars from other ports too", "  ip saddr @bans drop\n  " + add + "\n", everyone, address.Set{}, minute},
		{"another rule adds", "  tcp dport 22 ip saddr @bans drop\n  tcp dport 23 add @bans { ip saddr }\n  " + add + "\n",
			address.Set{}, everyone, nil},
		{"adds the destination", "  tcp dport 22 ip saddr @bans drop\n  tcp dport 22 ct state new limit rate over 10/minute add @bans { ip daddr }\n",
			address.Set{}, everyone, nil},
		{"another rule adds by another key", "  tcp dport 22 ip saddr @bans drop\n  tcp dport 23 ip saddr @bans add @bans { ip daddr }\n  " + add + "\n",
			address.Set{}, everyone, nil},
		{"knocking", "  tcp dport 22 ip saddr != @bans drop\n  " + add + "\n", address.Set{}, everyone, nil},
	} {
		rs := &exposure.Ruleset{}
		err := nfttext.Read(
			"f",
			strings.NewReader(
				"table ip f {\n set bans { type ipv4_addr; flags dynamic, timeout; timeout 5m; }\n"+
					" chain c {\n  type filter hook input priority 0; policy drop;\n"+tt.rules+"  tcp dport { 22, 80 } accept\n }\n}\n",
			),
			rs,
		)
		if err != nil {
			t.Fatal(err)
		}
		rs.MarkDynamic()
		in := Input{
			Rules:   rs,
			Host:    world(),
			Sockets: listening("sshd 0.0.0.0:22", "web 0.0.0.0:80"),
			Now:     time.Now(),
		}
		out, err := Import(context.Background(), in, ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ssh, web := serviceFor(out, firewall.TCP, 22), serviceFor(out, firewall.TCP, 80)
		if ssh == nil || web == nil {
			t.Errorf("%s: %+v", tt.name, out.Services)
			continue
		}
		got := func(s *ImportedService) address.Set { return s.Sources.Intersect(everyone) }
		if !got(ssh).Equal(tt.ssh) || !got(web).Equal(tt.web) || !cmp.Equal(ssh.Rate, tt.rate) ||
			web.Rate != nil {
			t.Errorf(
				"%s: ssh %v at %v, web %v at %v; unknown %q",
				tt.name,
				got(ssh),
				ssh.Rate,
				got(web),
				web.Rate,
				ssh.Unknown,
			)
		}
		if tt.rate != nil &&
			!strings.Contains(strings.Join(ssh.Rated, "\n"), "limit rate over 10/minute") {
			t.Errorf("%s: rated %q", tt.name, ssh.Rated)
		}
	}
}

// An ipset belongs to no table: rules of any table may add to it.
func TestImportBansOfIpsets(t *testing.T) {
	const (
		filter = "*filter\n:INPUT DROP [0:0]\n" +
			"-A INPUT -p tcp -m tcp --dport 22 -m set --match-set bans src -j DROP\n" +
			"-A INPUT -p tcp -m tcp --dport 22 -m hashlimit --hashlimit-above 10/minute " +
			"--hashlimit-burst 5 --hashlimit-mode srcip --hashlimit-name ssh " +
			"-j SET --add-set bans src\n" +
			"-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"
		honeypot = "*mangle\n:PREROUTING ACCEPT [0:0]\n" +
			"-A PREROUTING -p tcp -m tcp --dport 23 -j SET --add-set bans src\nCOMMIT\n"
	)
	for name, tt := range map[string]struct {
		rules string
		want  address.Set
		rated bool
	}{
		"a rate":     {filter, address.Must("0.0.0.0/0"), true},
		"a honeypot": {honeypot + filter, address.Set{}, false},
	} {
		rs, sets := &exposure.Ruleset{}, xtables.NewSets()
		ipset := "create bans hash:ip family inet hashsize 1024 maxelem 65536 timeout 300\n"
		if err := sets.Read("s", strings.NewReader(ipset), time.Now()); err != nil {
			t.Fatal(err)
		}
		err := xtables.ReadSave("f", exposure.FamilyIPv4, strings.NewReader(tt.rules), sets, rs)
		if err != nil {
			t.Fatal(err)
		}
		rs.MarkDynamic()
		in := Input{
			Rules:   rs,
			Host:    world(),
			Sockets: listening("sshd 0.0.0.0:22"),
			Now:     time.Now(),
		}
		out, err := Import(context.Background(), in, ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ssh := serviceFor(out, firewall.TCP, 22)
		if ssh == nil || !ssh.Sources.Intersect(address.Must("0.0.0.0/0")).Equal(tt.want) ||
			(ssh.Rate != nil) != tt.rated {
			t.Errorf("%s: %+v", name, ssh)
		}
	}
}

// It does so too while the set has elements.
func TestImportRatesBansThatHoldSources(t *testing.T) {
	rs := &exposure.Ruleset{}
	err := nfttext.Read(
		"f",
		strings.NewReader("table ip f {\n set bans { type ipv4_addr; flags dynamic, timeout;\n"+
			" timeout 5m; elements = { 192.0.2.9 timeout 5m expires 3m }; }\n"+
			" chain c {\n  type filter hook input priority 0; policy drop;\n  tcp dport 22 ip saddr @bans drop\n"+
			"  tcp dport 22 ct state new limit rate over 10/minute add @bans { ip saddr }\n"+
			"  tcp dport 22 accept\n }\n}\n"),
		rs,
	)
	if err != nil {
		t.Fatal(err)
	}
	rs.MarkDynamic()
	out, err := Import(context.Background(), Input{Rules: rs, Host: world(),
		Sockets: listening("sshd 0.0.0.0:22"), Now: time.Now()}, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := serviceFor(out, firewall.TCP, 22)
	want := &firewall.Rate{Count: 10, Per: time.Minute, Burst: 5}
	if s == nil || !cmp.Equal(s.Rate, want) || len(s.Unknown) > 0 ||
		!s.Sources.Equal(address.Must("0.0.0.0/0", "::/0").Minus(address.Must("192.0.2.9/32"))) {
		t.Errorf("%+v", s)
	}
}
