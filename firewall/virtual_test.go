package firewall_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func virtual(protocol firewall.Protocol, at string) firewall.VirtualService {
	return firewall.VirtualService{Protocol: protocol, At: netip.MustParseAddrPort(at)}
}

// Virtual services come in one order, once each. Where unlisted ports are left alone, only those on
// listed ports stay.
func TestVirtualServicesOfAState(t *testing.T) {
	web := firewall.Service{
		Name:  "web",
		Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 443, Last: 443}},
		Log:   firewall.LogNone,
	}
	s := firewall.State{
		Unlisted:    firewall.UnlistedDeny,
		Refuse:      firewall.RefuseDrop,
		Established: firewall.EstablishedCut,
		Services:    []firewall.Service{web},
		Virtual: []firewall.VirtualService{
			virtual(firewall.TCP, "[fd00:96::1]:443"), virtual(firewall.UDP, "10.96.0.10:53"),
			virtual(firewall.TCP, "10.96.0.1:443"), virtual(firewall.UDP, "10.96.0.10:53")},
	}
	c, err := s.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	all := []firewall.VirtualService{
		virtual(firewall.TCP, "10.96.0.1:443"),
		virtual(firewall.UDP, "10.96.0.10:53"),
		virtual(firewall.TCP, "[fd00:96::1]:443"),
	}
	if !slices.Equal(c.Virtual, all) || !slices.Equal(c.VirtualIn(address.IPv4), all[:2]) ||
		!slices.Equal(c.VirtualIn(address.IPv6), all[2:]) {
		t.Errorf("under deny: %v", c.Virtual)
	}
	for _, encode := range []func() (firewall.State, error){
		func() (again firewall.State, err error) {
			b, err := json.Marshal(c)
			if err == nil {
				err = json.Unmarshal(b, &again)
			}
			return again, err
		},
		func() (again firewall.State, err error) {
			b, err := c.MarshalBinary()
			if err == nil {
				err = again.UnmarshalBinary(b)
			}
			return again, err
		},
	} {
		if again, err := encode(); err != nil || !again.Equal(c) {
			t.Errorf("written and read again: %+v, %v", again, err)
		}
	}
	s.Unlisted = firewall.UnlistedIgnore
	if c, err = s.Canonical(); err != nil ||
		!slices.Equal(c.Virtual, []firewall.VirtualService{all[0], all[2]}) {
		t.Errorf("under ignore: %v, %v", c.Virtual, err)
	}
	for _, bad := range []string{`"icmp/10.96.0.1:443"`, `"tcp/10.96.0.1:0"`, `"tcp/10.96.0.1"`, `"10.96.0.1:443"`,
		`"tcp/[fe80::1%eth0]:443"`, `"tcp/[::ffff:10.0.0.1]:443"`, `""`} {
		var v firewall.VirtualService
		if err := json.Unmarshal([]byte(bad), &v); err == nil {
			t.Errorf("%s was taken for %v", bad, v)
		}
	}
}

// A service decides about a virtual IP unless the packet comes from the host's own workloads; one
// that names the address decides for these too. What none lists is left alone.
func TestDecideAboutVirtualServices(t *testing.T) {
	ports := func(p uint16) []firewall.PortRange {
		return []firewall.PortRange{{Protocol: firewall.TCP, First: p, Last: p}}
	}
	s, err := firewall.State{
		Unlisted:    firewall.UnlistedDeny,
		Refuse:      firewall.RefuseDrop,
		Established: firewall.EstablishedCut,
		Services: []firewall.Service{
			{Name: "web", Ports: ports(443), Log: firewall.LogNone},
			{
				Name:      "named",
				Ports:     ports(53),
				Addresses: address.Must("10.96.0.10/32"),
				Log:       firewall.LogNone,
			},
		},
		Virtual: []firewall.VirtualService{
			virtual(firewall.TCP, "10.96.0.1:443"),
			virtual(firewall.TCP, "10.96.0.1:80"),
			virtual(firewall.TCP, "10.96.0.10:53"),
		},
	}.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		to    string
		iface string
		want  firewall.Verdict
	}{
		{"10.96.0.1:443", "eth0", firewall.Refused},
		{"10.96.0.1:443", "cali123", firewall.Ignored},
		{"10.96.0.1:80", "eth0", firewall.Ignored},
		{"10.96.0.1:81", "eth0", firewall.Refused}, // IPVS does not serve it: the host's own
		{"10.96.0.10:53", "cali123", firewall.Refused},
		{"192.0.2.1:443", "cali123", firewall.Refused},
	} {
		at := netip.MustParseAddrPort(c.to)
		f := firewall.Flow{
			Protocol:    firewall.TCP,
			Source:      netip.MustParseAddr("10.244.0.7"),
			Destination: at.Addr(),
			Port:        at.Port(),
			Interface:   c.iface,
		}
		if got := s.Decide(f, time.Time{}); got.Verdict != c.want {
			t.Errorf("%s by %s: %+v, want %v", c.to, c.iface, got, c.want)
		}
	}
}
