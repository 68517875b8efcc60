package policydiff

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

var now = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func tcp(first, last uint16) firewall.PortRange {
	return firewall.PortRange{Protocol: firewall.TCP, First: first, Last: last}
}

// networks are those that the tests' policies may name.
var networks = map[string]address.Set{
	"office":  address.Must("203.0.113.0/24", "2001:db8:10::/48"),
	"vpn":     address.Must("10.8.0.0/16"),
	"private": address.Must("10.0.0.0/8", "192.168.0.0/16"),
	"any":     address.Must("0.0.0.0/0", "::/0"),
}

// entry is an entry of allow: a network, or a CIDR.
func entry(word string) Entry {
	if p, err := netip.ParsePrefix(word); err == nil {
		return Entry{Prefix: p}
	}
	return Entry{Network: word}
}

// side is a policy whose service web lets in some entries but for others.
func side(known map[string]address.Set, allow, except []string) Side {
	web := Service{Ports: []string{"tcp/80"}}
	var sources, without address.Set
	holds := func(e Entry) address.Set {
		if e.Network == "" {
			return address.Must(e.Prefix.String())
		}
		return networks[e.Network]
	}
	for _, word := range allow {
		web.Allow = append(web.Allow, entry(word))
		sources = sources.Union(holds(entry(word)))
	}
	for _, word := range except {
		web.Except = append(web.Except, entry(word))
		without = without.Union(holds(entry(word)))
	}
	return Side{
		State: firewall.State{Services: []firewall.Service{{
			Name: "web", Ports: []firewall.PortRange{tcp(80, 80)}, Log: firewall.LogDenied,
			Sources: sources.Minus(without),
		}}},
		Written: &Written{Services: map[string]Service{"web": web}, Networks: known},
	}
}

// words is a list of changes in short.
func words(changes []Change) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&b, "%s %s %s", c.Action, c.Service, strings.Join(c.Ports, ","))
		writeOpenings(&b, "+", c.Opens)
		writeOpenings(&b, "-", c.Closes)
		for _, s := range c.Settings {
			fmt.Fprintf(&b, " [%s%s %q→%q]", s.Key, s.Source, s.From, s.To)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func writeOpenings(b *strings.Builder, sign string, list []Opening) {
	for _, o := range list {
		fmt.Fprintf(b, " %s%s", sign, o.Network)
		if o.Network == "" || o.Part {
			fmt.Fprintf(b, "%v", o.Sources)
		}
		if len(o.Except) > 0 {
			fmt.Fprintf(b, " but %v", o.Except)
		}
		if o.Lease {
			fmt.Fprintf(b, " lease%v", o.Ports)
		}
		if !o.Expires.IsZero() {
			fmt.Fprintf(b, " until %s", o.Expires.Format(time.DateOnly))
		}
	}
}

// of is a list of entries.
func of(words ...string) []string { return words }

func TestBetween(t *testing.T) {
	none := Side{}
	grown := map[string]address.Set{
		"office": address.Must("203.0.113.0/24"),
		"vpn":    networks["vpn"],
	}
	for name, tt := range map[string]struct {
		from, to Side
		want     string
	}{
		"new":    {none, side(networks, of("office", "vpn"), nil), "add web tcp/80 +office +vpn\n"},
		"nobody": {none, side(networks, nil, nil), "add web tcp/80\n"},
		"gone": {side(networks, of("office"), nil), none,
			"remove web tcp/80 -office [unlisted \"\"→\"ignore\"]\n"},
		"an entry more and one less": {side(networks, of("office", "vpn"), nil),
			side(networks, of("office", "198.51.100.7/32"), nil),
			"change web tcp/80 +[198.51.100.7/32] -vpn\n"},
		"the same, written otherwise": {side(networks, of("10.8.0.0/16"), nil),
			side(networks, of("vpn"), nil), ""},
		"an entry that another one holds": {side(networks, of("private"), nil),
			side(networks, of("private", "vpn"), nil), ""},
		"all but": {side(networks, of("any"), nil), side(networks, of("office", "vpn"), nil),
			"change web tcp/80 -any but [office vpn]\n"},
		"except gone": {side(networks, of("private"), of("10.66.0.0/16")),
			side(networks, of("private"), nil),
			"change web tcp/80 +private[10.66.0.0/16] [except \"10.66.0.0/16\"→\"\"]\n"},
		"one list that is not known": {none, side(map[string]address.Set{"vpn": networks["vpn"]},
			of("office", "vpn"), nil), "add web tcp/80 +vpn +office\n"},
		"lists that are not known": {none, side(nil, of("office", "vpn"), nil),
			"add web tcp/80 +office +vpn +[10.8.0.0/16 203.0.113.0/24 2001:db8:10::/48]\n"},
		"a list that grew": {Side{State: firewall.State{Services: []firewall.Service{{
			Name: "web", Ports: []firewall.PortRange{tcp(80, 80)}, Log: firewall.LogDenied,
			Sources: grown["office"]}}}, Written: side(nil, of("office"), nil).Written},
			side(networks, of("office"), nil),
			"change web tcp/80 +office[2001:db8:10::/48]\n"},
		"no names": {Side{}, Side{State: side(networks, of("office"), nil).State},
			"add web tcp/80 +[203.0.113.0/24 2001:db8:10::/48]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := words(Between(tt.from, tt.to, now, false)); got != tt.want {
				t.Errorf("got %swant %s", got, tt.want)
			}
		})
	}
}

func TestBetweenSettings(t *testing.T) {
	from, to := side(networks, of("office"), nil), side(networks, of("office"), nil)
	a, b := &from.State, &to.State
	a.Services[0].Rate = &firewall.Rate{Count: 10, Per: time.Minute, Burst: 10}
	b.Services[0].Rate = &firewall.Rate{Count: 20, Per: time.Minute, Burst: 20}
	b.Services[0].Interfaces = []string{"eth0"}
	b.Services[0].Ports = []firewall.PortRange{tcp(80, 81)}
	to.Written.Services["web"] = Service{
		Ports: []string{"tcp/80", "tcp/81"}, Allow: to.Written.Services["web"].Allow,
	}
	b.Unlisted, b.Essentials = firewall.UnlistedDeny, firewall.DefaultEssentials
	end, later := now.AddDate(0, 1, 0), now.AddDate(0, 2, 0)
	source := prefix("192.0.2.0/28")
	a.Services[0].Expiring = []firewall.ExpiringSource{{Prefix: source, Until: end},
		{Prefix: prefix("192.0.2.64/28"), Until: now.Add(-time.Hour)}}
	b.Services[0].Expiring = []firewall.ExpiringSource{{Prefix: source, Until: later}}
	want := `change   [unlisted "ignore"→"deny"]
change web tcp/80,tcp/81 [port "tcp/80"→"tcp/80, tcp/81"] [interfaces ""→"eth0"]` +
		` [rate "10/minute"→"20/minute"]` +
		` [expires192.0.2.0/28 "2027-02-01T00:00:00Z"→"2027-03-01T00:00:00Z"]
`
	if got := words(Between(from, to, now, false)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestBetweenLeases(t *testing.T) {
	from, to := side(networks, of("office"), nil), side(networks, of("office"), nil)
	lease := func(service, source string, port uint16, until time.Time) Lease {
		return Lease{service, []firewall.PortRange{tcp(port, port)},
			firewall.ExpiringSource{Prefix: prefix(source), Until: until}}
	}
	end := now.AddDate(0, 0, 1)
	from.Leases = []Lease{
		lease("web", "198.51.100.1/32", 80, end),
		lease("web", "198.51.100.9/32", 80, now), // it is over
	}
	to.Leases = []Lease{
		lease("web", "198.51.100.2/32", 80, end),
		lease("lease-7000", "198.51.100.3/32", 7000, end),
	}
	want := `add lease-7000 tcp/7000 +[198.51.100.3/32] lease[] until 2027-01-02
change web tcp/80 +[198.51.100.2/32] lease[] until 2027-01-02` +
		` -[198.51.100.1/32] lease[] until 2027-01-02
`
	if got := words(Between(from, to, now, false)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A million sources are counted, not written out.
func TestBounds(t *testing.T) {
	var b address.Builder
	for i := range 1_000_000 {
		_ = b.Add(netip.PrefixFrom(netip.AddrFrom4(
			[4]byte{byte(11 + i>>19), byte(i >> 11), byte(i >> 3), byte(i<<5) | 1}), 32))
	}
	huge := b.Set()
	to := side(networks, of("office"), nil)
	svc := to.State.Services[0]
	to.State.Services = nil
	to.Written.Networks = map[string]address.Set{"office": huge}
	for i := range 1000 {
		svc.Name, svc.Sources = fmt.Sprintf("s%04d", i), huge
		to.State.Services = append(to.State.Services, svc)
		to.Written.Services[svc.Name] = Service{Allow: []Entry{{Network: "office"}}}
	}
	for wholly, most := range map[bool]int{false: 1 << 20, true: 4 << 20} {
		changes := Between(Side{}, to, now, wholly)
		text, err := json.Marshal(changes)
		if err != nil || len(text) > most {
			t.Errorf("all %v: %d bytes, %v", wholly, len(text), err)
		}
		if o := changes[0].Opens[0]; o.Count != 1_000_000 || o.Network != "office" || len(o.Sources) > 0 {
			t.Errorf("all %v: %d of %d sources are listed", wholly, len(o.Sources), o.Count)
		}
	}
}

func TestRestored(t *testing.T) {
	in := side(networks, of("office", "198.51.100.7/32"), nil)
	change := func(
		a firewall.Action, o firewall.Object, service, detail string, n int,
	) firewall.Change {
		return firewall.Change{Action: a, Object: o, Service: service, Detail: detail, Count: n}
	}
	got := words(Restored(in, []firewall.Change{
		change(firewall.Add, firewall.ObjectElement, "web", "203.0.113.0/24", 1),
		change(firewall.Add, firewall.ObjectElement, "web", "198.51.100.7/32", 1),
		change(firewall.Remove, firewall.ObjectElement, "web", "192.0.2.1-192.0.2.2", 1),
		change(firewall.Add, firewall.ObjectElement, "web", "port tcp/80 → goto svc/web", 1),
		change(firewall.Remove, firewall.ObjectRule, "", "chain input: accept", 1),
		change(firewall.Replace, firewall.ObjectTable, "", "table inet portgrave", 1),
	}))
	want := `change   [rules "2"→"0"]
change web tcp/80 +office[203.0.113.0/24] +[198.51.100.7/32] -[192.0.2.1/32 192.0.2.2/32]` +
		` [rules "1"→"0"]
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
