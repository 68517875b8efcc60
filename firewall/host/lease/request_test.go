package lease

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func TestParsePorts(t *testing.T) {
	for in, want := range map[string][]firewall.PortRange{
		"9090":                 {tcp(9090, 9090)},
		"tcp/9090":             {tcp(9090, 9090)},
		"udp/53":               {udp(53, 53)},
		"9000-9100":            {tcp(9000, 9100)},
		"sctp/1-65535":         {{Protocol: firewall.SCTP, First: 1, Last: 65535}},
		"vrrp":                 {firewall.Portless(firewall.VRRP)},
		"22,6in4,protocol-94":  {tcp(22, 22), firewall.Portless(41), firewall.Portless(94)},
		"9090/tcp":             {tcp(9090, 9090)},
		"53/udp,5353/udp":      {udp(53, 53), udp(5353, 5353)},
		"8000:8010":            {tcp(8000, 8010)},
		"tcp/8000:8010":        {tcp(8000, 8010)},
		"443, udp/443,444,443": {tcp(443, 444), udp(443, 443)},
	} {
		if got, err := ParsePorts(in); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":           "is not a port",
		"http":       "is not a port",
		"0":          "is not a port",
		"65536":      "is not a port",
		"+1":         "is not a port",
		"080":        "is not a port",
		"-5":         "is not a port",
		"80-":        "is not a port",
		"80-90-100":  "is not a port",
		"80,":        "is not a port",
		"icmp/8":     "write ping",
		"ipx/8":      "use tcp, udp or sctp",
		"vrrp/1":     "vrrp has no ports; write vrrp",
		"9090/icmp":  "write ping",
		"9090/vrrp":  "write a protocol and a port",
		"50/22":      "write a protocol and a port",
		"9100-9000":  "write 9000-9100",
		"udp/tcp/80": "is not a port",
	} {
		if got, err := ParsePorts(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseSources(t *testing.T) {
	got, err := ParseSources("203.0.113.7", "192.0.2.0/25, 192.0.2.128/25", "2001:db8::/48")
	if want := address.Must("203.0.113.7/32", "192.0.2.0/24", "2001:db8::/48"); err != nil ||
		!got.Equal(want) {
		t.Errorf("%v, %v", got.Strings(), err)
	}
	for in, want := range map[string]string{
		"":                      "not an address or a CIDR",
		"office":                "not an address or a CIDR",
		"203.0.113":             "not an address or a CIDR",
		"203.0.113.7/24":        "write 203.0.113.0/24 for the network, or 203.0.113.7",
		"2001:db8::1/64":        "write 2001:db8::/64",
		"203.0.113.0/33":        "from 0 to 32",
		"203.0.113.0/":          "from 0 to 32",
		"fe80::1%eth0":          "write fe80::1",
		"fe80::%eth0/64":        "has a zone",
		"::ffff:203.0.113.7":    "write the IPv4 address, 203.0.113.7",
		"::ffff:203.0.113.7/96": "IPv4-mapped",
	} {
		if got, err := ParseSources(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", in, got.Strings(), err, want)
		}
	}
	if _, err := ParseSources(); err == nil {
		t.Error("no sources at all")
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"2h": 2 * time.Hour, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour,
		"1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute, "0.5d": 12 * time.Hour, "60s": time.Minute} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "2", "2 h", "-2h", "+2h", "2w", "h", "100ms", "2H", "1h-30m", "9999999999d", "106752d",
		"99999999999999999999h", "2562047h48m",
	} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
	for d, want := range map[time.Duration]string{
		24 * time.Hour:   "24h",
		90 * time.Minute: "1h30m",
		time.Minute:      "1m",
		61 * time.Second: "1m1s",
		0:                "0s",
		10 * time.Hour:   "10h",
	} {
		if got := Spell(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestGrant(t *testing.T) {
	web := firewall.Service{Name: "web", Ports: []firewall.PortRange{tcp(80, 90)}}
	ignore, deny := inMode(t, firewall.UnlistedIgnore, web), inMode(t, firewall.UnlistedDeny, web)
	request := func(change func(*Request)) Request {
		r := Request{
			Ports:   []firewall.PortRange{tcp(80, 80)},
			Sources: address.Must("203.0.113.7/32"),
			For:     2 * time.Hour,
			User:    "ann",
			From:    "198.51.100.4",
			Reason:  "INC-42",
		}
		if change != nil {
			change(&r)
		}
		return r
	}
	l, err := request(
		func(r *Request) { r.Ports = []firewall.PortRange{tcp(81, 82), tcp(80, 80)} },
	).Grant(ignore, 2*time.Hour, noon.Add(900*time.Millisecond).Local())
	if err != nil || l.ID != "" || !slices.Equal(l.Ports, []firewall.PortRange{tcp(80, 82)}) ||
		l.Opened != noon ||
		l.Until != noon.Add(2*time.Hour) ||
		l.Length() != 2*time.Hour ||
		l.User != "ann" ||
		l.From != "198.51.100.4" ||
		l.Reason != "INC-42" ||
		l.Unlisted {
		t.Errorf("%+v, %v", l, err)
	}
	ports := func(p ...firewall.PortRange) func(*Request) {
		return func(r *Request) {
			r.Ports = p
		}
	}
	sources := func(s ...string) func(*Request) {
		return func(r *Request) {
			r.Sources = address.Must(s...)
		}
	}
	for name, tt := range map[string]struct {
		state  firewall.State
		change func(*Request)
		want   []string // without --force; none: granted
		forced []string // with it
	}{
		"the longest":            {ignore, func(r *Request) { r.For = 24 * time.Hour }, nil, nil},
		"the shortest":           {ignore, func(r *Request) { r.For = time.Minute; r.Reason = "" }, nil, nil},
		"too long":               {ignore, func(r *Request) { r.For = 24*time.Hour + 1 }, []string{"at most 24h", "max_lease"}, []string{"at most 24h"}},
		"too short":              {ignore, func(r *Request) { r.For = 59 * time.Second }, []string{"59s is too short", "1m"}, []string{"too short"}},
		"everybody":              {ignore, sources("0.0.0.0/0", "::/0"), []string{"0.0.0.0/0 is every IPv4 address", "::/0 is every IPv6 address"}, nil},
		"wide":                   {ignore, sources("10.0.0.0/7", "2000::/15"), []string{"10.0.0.0/7 is wider than /8", "2000::/15 is wider than /16"}, nil},
		"wide when put together": {ignore, sources("0.0.0.0/1", "128.0.0.0/1"), []string{"0.0.0.0/0"}, nil},
		"just not too wide":      {ignore, sources("10.0.0.0/8", "2001::/16"), nil, nil},
		"nobody":                 {ignore, sources(), []string{"0 sources"}, []string{"0 sources"}},
		"no port":                {ignore, ports(), []string{"no ports"}, []string{"no ports"}},
		"left alone":             {ignore, ports(tcp(79, 80)), []string{"tcp/79: no service lists it", "close it for everybody but 203.0.113.7"}, []string{"close it for everybody"}},
		"unlisted":               {deny, ports(tcp(70, 72), tcp(80, 80), udp(80, 80)), []string{"tcp/70-72: no service", "udp/80: no service", "--force"}, nil},
		"DHCP":                   {deny, ports(udp(68, 68)), []string{"--force"}, []string{"udp/68: ", "DHCP"}},
		"DHCPv6 in a range":      {deny, ports(udp(500, 546)), []string{"--force"}, []string{"udp/500-546: ", "leave them out"}},
		"control characters":     {ignore, func(r *Request) { r.Reason = "\x1b[2J" }, []string{"reason", "control characters"}, []string{"reason"}},
		"two lines":              {ignore, func(r *Request) { r.Reason = "a\nb" }, []string{"one line"}, []string{"one line"}},
		"turned writing":         {ignore, func(r *Request) { r.Reason = "a\u202eb" }, []string{"reason"}, []string{"reason"}},
		"no UTF-8":               {ignore, func(r *Request) { r.User = "\xff" }, []string{"user"}, []string{"user"}},
		"endless":                {ignore, func(r *Request) { r.Reason = strings.Repeat("x", 501) }, []string{"at most 500"}, []string{"at most 500"}},
		"several mistakes":       {ignore, func(r *Request) { ports(tcp(1, 1))(r); sources("0.0.0.0/0")(r) }, []string{"tcp/1", "every IPv4"}, []string{"tcp/1"}},
	} {
		for _, force := range []bool{false, true} {
			r := request(tt.change)
			want := tt.want
			if r.Force = force; force {
				want = tt.forced
			}
			l, err := r.Grant(tt.state, 24*time.Hour, noon)
			if (err == nil) != (len(want) == 0) {
				t.Errorf("%s, force %v: %+v, %v", name, force, l, err)
			}
			for _, w := range want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("%s, force %v: %v does not say %q", name, force, err, w)
				}
			}
			if err == nil && l.Unlisted != (force && name == "unlisted") {
				t.Errorf("%s, force %v: unlisted is %v", name, force, l.Unlisted)
			}
		}
	}
}

// TestCheckAfterThePolicyChanged: a lease whose port the policy no longer lists opens nothing, and
// that can be told.
func TestCheckAfterThePolicyChanged(t *testing.T) {
	before, after := stateOf(
		t,
		firewall.Service{Name: "web", Ports: []firewall.PortRange{tcp(80, 81)}},
	), stateOf(
		t,
		firewall.Service{Name: "web", Ports: []firewall.PortRange{tcp(81, 81)}},
	)
	l := leaseOf("203.0.113.7/32", tcp(80, 81))
	if err := Check(before, l); err != nil {
		t.Error(err)
	}
	if err := Check(after, l); err == nil || !strings.HasPrefix(err.Error(), "tcp/80: ") {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	one, two, range_ := leaseOf(
		"203.0.113.7/32",
		tcp(80, 80),
	), leaseOf(
		"203.0.113.8/32",
		tcp(80, 80),
	), leaseOf(
		"203.0.113.9/32",
		tcp(8000, 8100),
	)
	more := leaseOf("203.0.113.9/32", tcp(443, 443), tcp(5432, 5432))
	two.ID, range_.ID, more.ID = "cdfghj", "dfghjk", "fghjkl"
	all := []Lease{one, two, range_, more}
	ids := func(leases []Lease) string {
		var list []string
		for _, l := range leases {
			list = append(list, l.ID)
		}
		return strings.Join(list, " ")
	}
	for word, want := range map[string]string{
		"bcdfgh":        "bcdfgh",
		"CDFGHJ":        "cdfghj",
		"80":            "bcdfgh cdfghj",
		"tcp/8000-8100": "dfghjk",
		"80,81":         "bcdfgh cdfghj",
		"80,443":        "bcdfgh cdfghj; fghjkl",
		"443,5432":      "fghjkl",
		"1-7999":        "bcdfgh cdfghj fghjkl",
		"1-8000":        "bcdfgh cdfghj fghjkl; dfghjk",
	} {
		found, staying, err := Find(all, word)
		got := ids(found)
		if len(staying) > 0 {
			got += "; " + ids(staying)
		}
		if err != nil || got != want {
			t.Errorf("%q: %v, %v; want %s", word, got, err, want)
		}
	}
	for word, want := range map[string]string{
		"zzzzzz": "no lease zzzzzz",
		"8080":   "dfghjk opens tcp/8000-8100",
		"udp/80": "no lease opens udp/80",
		"what":   "neither",
	} {
		if found, _, err := Find(all, word); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", word, found, err, want)
		}
	}
}
