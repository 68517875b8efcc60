package input

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// names is a policy with two services and two networks.
type names struct{}

func (names) ServicePorts(name string) []firewall.PortRange {
	return map[string][]firewall.PortRange{
		"web": {{Protocol: firewall.TCP, First: 443, Last: 443},
			{Protocol: firewall.UDP, First: 443, Last: 443}},
		"metrics": {{Protocol: firewall.TCP, First: 9100, Last: 9100}},
		"ssh":     {{Protocol: firewall.TCP, First: 2222, Last: 2222}},
		"7zip":    {{Protocol: firewall.TCP, First: 7, Last: 7}},
		"esp":     {{Protocol: firewall.UDP, First: 4500, Last: 4500}},
	}[name]
}

func (names) Network(name string) (address.Set, bool, error) {
	switch name {
	case "office":
		return address.Must("203.0.113.0/24", "2001:db8:10::/48"), true, nil
	case "any":
		return address.Must("0.0.0.0/0", "::/0"), true, nil
	case "gone":
		return address.Set{}, true, errors.New("no such file")
	case "empty":
		return address.Set{}, true, nil
	}
	return address.Set{}, false, nil
}

func (names) Meant(word string) (service, network string) {
	return map[string]string{"metircs": "metrics"}[word], map[string]string{"offcie": "office"}[word]
}

func (names) Called() string { return "the policy in force" }

func reader(t *testing.T) Reader {
	file := filepath.Join(t.TempDir(), "services")
	text := "# a comment\nssh\t22/tcp\ndomain 53/tcp # DNS\ndomain\t53/udp\nntp 123/udp time\nbad\n" +
		"worse 0/tcp\nh323 1720/tcp\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Reader{func() (Policy, error) { return names{}, nil }, file}
}

func TestPorts(t *testing.T) {
	r := reader(t)
	for in, want := range map[string]string{
		"22": "tcp/22", "22/tcp": "tcp/22", "tcp/22": "tcp/22", "53/udp": "udp/53",
		"80,443": "tcp/80, tcp/443", "8000:8010": "tcp/8000-8010", "8000-8010": "tcp/8000-8010",
		"vrrp": "vrrp", "protocol-94": "protocol-94",
		"web": "tcp/443, udp/443", "udp/web": "udp/443", "web/tcp": "tcp/443",
		"ssh":          "tcp/2222", // the policy's, not that of services(5)
		"7zip":         "tcp/7",
		"esp":          "udp/4500",
		"domain":       "tcp/53",
		"domain/udp":   "udp/53",
		"udp/domain":   "udp/53",
		"time":         "udp/123",
		"h323":         "tcp/1720",
		"metrics, ntp": "tcp/9100, udp/123",
	} {
		if got, err := r.Ports(in); err != nil || portNames(got) != want {
			t.Errorf("%q: %s, %v; want %s", in, portNames(got), err, want)
		}
	}
	for in, want := range map[string]string{
		"":            "is not a port",
		"0x16":        "neither a port, nor a service",
		"metircs":     "did you mean metrics?",
		"postgresql":  "write 5432",
		"snmp":        "write udp/161",
		"udp/metrics": "service metrics has no udp port: it has tcp/9100",
		"ntp/tcp":     "has no tcp port",
		"worse":       "neither a port",
		"web/icmp":    "unknown protocol",
		"70000":       "from 1 to 65535",
		"22,":         "is not a port",
		"8010:8000":   "write 8000-8010",
	} {
		if got, err := r.Ports(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", in, got, err, want)
		}
	}
}

func TestOnePort(t *testing.T) {
	r := reader(t)
	for _, c := range []struct {
		in       string
		protocol firewall.Protocol
		want     string
	}{
		{"22", 0, "tcp/22"}, {"22", firewall.UDP, "udp/22"}, {"22/udp", 0, "udp/22"},
		{"web", firewall.UDP, "udp/443"}, {"domain", firewall.UDP, "udp/53"}, {"ssh", 0, "tcp/2222"},
		{"domain", 0, "tcp/53"},
	} {
		if got, err := r.OnePort(c.in, c.protocol); err != nil || got.String() != c.want {
			t.Errorf("%q: %v, %v; want %s", c.in, got, err, c.want)
		}
	}
	for _, c := range []struct {
		in       string
		protocol firewall.Protocol
		want     string
	}{
		{"web", 0, "several ports (tcp/443, udp/443)"},
		{"80,443", firewall.TCP, "several ports"},
		{"22/udp", firewall.TCP, "is a udp port, and --protocol says tcp"},
		{"vrrp", 0, "without ports"},
	} {
		if got, err := r.OnePort(c.in, c.protocol); err == nil ||
			!strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, %v; want %q", c.in, got, err, c.want)
		}
	}
}

func TestSources(t *testing.T) {
	r := reader(t)
	for in, want := range map[string]string{
		"203.0.113.7":            "203.0.113.7/32",
		"office":                 "203.0.113.0/24 2001:db8:10::/48",
		"office, 192.0.2.0/24":   "192.0.2.0/24 203.0.113.0/24 2001:db8:10::/48",
		"any":                    "0.0.0.0/0 ::/0",
		"2001:db8::/48,10.0.0.1": "10.0.0.1/32 2001:db8::/48",
	} {
		if got, err := r.Sources(in); err != nil || strings.Join(got.Strings(), " ") != want {
			t.Errorf("%q: %v, %v; want %s", in, got.Strings(), err, want)
		}
	}
	for in, want := range map[string]string{
		"offcie":         "did you mean office?",
		"an":             "or the name of a network",
		"web":            "it is a service",
		"gone":           "no such file",
		"empty":          "nobody in it",
		"203.0.113.7/24": "write 203.0.113.0/24",
		"fe80::1%eth0":   "write fe80::1",
		"":               "not an address",
	} {
		if got, err := r.Sources(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", in, got.Strings(), err, want)
		}
	}
	if _, err := r.Sources(); err == nil {
		t.Error("no source at all")
	}
}

// Without a policy, numbers and names of services(5) work, and an error says why others don't.
func TestWithoutPolicy(t *testing.T) {
	r := reader(t)
	r.Policy = func() (Policy, error) { return nil, errors.New("policy.yaml:1:1: mistake") }
	if got, err := r.Ports("22,ssh"); err != nil || portNames(got) != "tcp/22" {
		t.Errorf("%s, %v", portNames(got), err)
	}
	if got, err := r.Sources("10.0.0.1"); err != nil || got.Len() != 1 {
		t.Errorf("%v, %v", got.Strings(), err)
	}
	if _, err := r.Ports("web"); err == nil || !strings.Contains(err.Error(), "1:1: mistake") {
		t.Error(err)
	}
	if _, err := r.Sources("office"); err == nil || !strings.Contains(err.Error(), "1:1: mistake") {
		t.Error(err)
	}
	r.ServicesFile = filepath.Join(t.TempDir(), "missing")
	if _, err := r.Ports("ssh"); err == nil || !strings.Contains(err.Error(), "write 22") {
		t.Error(err)
	}
}
