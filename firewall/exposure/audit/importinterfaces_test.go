package audit

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// A policy can't name every interface that Linux allows. What is open there alone is left out, and
// the policy is valid; a name that ends in * isn't taken for a prefix.
func TestImportOfOddInterfaces(t *testing.T) {
	for _, name := range []string{"we*rd", "eth*", `x"y`} {
		rs := rules(
			t,
			"*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -p tcp --dport 80 -j ACCEPT\n"+
				"-A INPUT -i br0 -p tcp --dport 443 -j ACCEPT\nCOMMIT\n",
		)
		h := world()
		br0 := slices.IndexFunc(
			h.Interfaces,
			func(i exposure.Interface) bool { return i.Name == "br0" },
		)
		h.Interfaces[br0].Name = name
		for _, c := range rs.Tables[0].Chains {
			for _, r := range c.Rules {
				for i, s := range r.Statements {
					if m, ok := s.(exposure.Match); ok && m.Key[0].Field == exposure.FieldInName {
						m.In = exposure.SetOf(exposure.One(exposure.Name(name)))
						r.Statements[i] = m
					}
				}
			}
		}
		h.Interfaces = append(h.Interfaces, exposure.Interface{
			Name: "eth9", Index: 9, Up: true, Ethernet: true,
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")},
		})
		in := Input{
			Rules:   rs,
			Host:    h,
			Sockets: listening("web 0.0.0.0:80", "api 0.0.0.0:443"),
			Now:     time.Now(),
		}
		out, err := Import(context.Background(), in, ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		everyone4 := address.Must("0.0.0.0/0")
		if s := serviceFor(out, firewall.TCP, 443); s != nil &&
			s.Sources.Intersect(everyone4).Len() > 0 {
			t.Errorf("%q: %+v", name, s)
		}
		for _, s := range out.Services {
			if slices.Contains(s.Interfaces, name) {
				t.Errorf("%q: %+v", name, s)
			}
		}
		if diff := cmp.Diff([]string(nil), out.Direct); diff != "" {
			t.Errorf("%q: direct %s", name, diff)
		}
		if !strings.Contains(strings.Join(out.Notes, "\n"), "can't name the interface") {
			t.Errorf("%q: notes %q", name, out.Notes)
		}
		state(t, strings.TrimPrefix(documentOf(out), "version: 1\n"))
	}
}
