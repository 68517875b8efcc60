package policy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"pgregory.net/rapid"
)

// A document compiles to the services that it was written from.
func TestDocumentCompilesToItsServices(t *testing.T) {
	names := []string{"nginx", "true", "9p", "null", "on", "a.b-c_d", "x-tcp-80", "N"}
	interfaces := []string{"eth0", "eth*", "wg-home", "br-12ab", "veth@if3", "enp0s31f6", "no",
		"#odd"}
	purposes := []string{"", "nginx, nginx.service", "published to 172.17.0.2:80",
		`quotes "and" \slashes`, "- dash", "key: value", "umlaut ä, line\nbreak", "* star", "yes",
		"\u0085"}
	sources := []string{"0.0.0.0/0", "::/0", "10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32",
		"2001:db8::7/128", "224.0.0.0/3"}
	rapid.Check(t, func(t *rapid.T) {
		var services []firewall.Service
		d := Draft{Unlisted: firewall.UnlistedDeny, Refuse: firewall.RefuseReject,
			Closed: firewall.EssentialEcho}
		for n, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 5, rapid.ID).Draw(t, "names") {
			svc := firewall.Service{Name: name, Log: firewall.LogDenied}
			p := rapid.SampledFrom([]firewall.Protocol{firewall.TCP, firewall.UDP,
				firewall.SCTP}).Draw(t, "protocol")
			for i := range rapid.IntRange(1, 3).Draw(t, "ranges") {
				first := uint16(1 + 10000*n + 1000*i)
				svc.Ports = append(svc.Ports,
					firewall.PortRange{Protocol: p, First: first, Last: first +
						uint16(rapid.SampledFrom([]int{0, 0, 7}).Draw(t, "length"))})
			}
			svc.Interfaces = rapid.SliceOfNDistinct(rapid.SampledFrom(interfaces), 0, 2,
				rapid.ID).Draw(t, "interfaces")
			svc.Sources = address.Must(rapid.SliceOfNDistinct(rapid.SampledFrom(sources),
				0, 4, rapid.ID).Draw(t, "sources")...)
			if rapid.Bool().Draw(t, "bound") {
				svc.Addresses = address.Must(fmt.Sprintf("192.0.2.%d/32", n),
					fmt.Sprintf("2001:db8::%d/128", n))
			}
			if rapid.Bool().Draw(t, "rated") {
				svc.Rate = &firewall.Rate{Count: 3, Per: time.Minute, Burst: 5}
			}
			services = append(services, svc)
			d.Services = append(d.Services,
				DraftService{Service: svc, Comments: []string{"a comment\nof two lines"},
					Purpose: rapid.SampledFrom(purposes).Draw(t, "purpose")})
			idle := DraftService{Service: svc, Purpose: "nobody", Idle: true}
			idle.Name += "-idle"
			d.Services = append(d.Services, idle)
		}
		want, err := firewall.State{Unlisted: d.Unlisted, Refuse: d.Refuse,
			Established: firewall.EstablishedCut,
			Essentials:  firewall.DefaultEssentials &^ d.Closed, Services: services}.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		d.Networks = []DraftNetwork{{Name: "lan",
			Sources: address.Must("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")}}
		document := d.Document()
		p, err := Parse("policy.yaml", []byte(document))
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		c, err := p.Compile(context.Background(), nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if !c.State.Equal(want) {
			t.Fatalf("%s\n%s", document, cmp.Diff(fmt.Sprint(want), fmt.Sprint(c.State)))
		}
	})
}

// Sources that include nearly everything are written with except, and compile to the same sources.
func TestDocumentWritesExcept(t *testing.T) {
	everyone := address.Must("0.0.0.0/0", "::/0")
	for _, c := range []struct {
		sources address.Set
		want    string
	}{
		{everyone.Minus(address.Must("64.0.0.0/3", "::1/128")), `    allow: [any]
    except: [64.0.0.0/3, "::1"]
`},
		{address.Must("10.0.0.0/8", "192.0.2.1/32"), "    allow: [10.0.0.0/8, 192.0.2.1]\n"},
	} {
		document := Draft{Services: []DraftService{{Service: firewall.Service{Name: "web",
			Ports:   []firewall.PortRange{{Protocol: firewall.TCP, First: 80, Last: 80}},
			Sources: c.sources}}}}.Document()
		if !strings.Contains(document, c.want) {
			t.Errorf("%s", document)
		}
		p, err := Parse("policy.yaml", []byte(document))
		if err != nil {
			t.Fatal(err)
		}
		compiled, err := p.Compile(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := compiled.State.Services[0].Sources; !got.Equal(c.sources) {
			t.Errorf("%v, want %v", got.Strings(), c.sources.Strings())
		}
	}
}

// A document uses a network's name where that makes the list shorter, and omits unused networks.
func TestDocumentNamesNetworks(t *testing.T) {
	partners := address.Must("192.0.2.0/24", "198.51.100.7/32", "203.0.113.0/25")
	everyone := address.Must("0.0.0.0/0", "::/0")
	d := Draft{Networks: []DraftNetwork{
		{Name: "partners", Sources: partners, File: "networks/partners.txt"},
		{Name: "unused", Sources: address.Must("192.0.2.1/32", "192.0.2.3/32", "192.0.2.5/32")},
	}}
	for n, sources := range []address.Set{
		partners.Union(address.Must("10.0.0.0/8")),
		everyone.Minus(partners),
		address.Must("192.0.2.0/24"),
	} {
		d.Services = append(d.Services,
			DraftService{Service: firewall.Service{Name: fmt.Sprintf("s%d", n),
				Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: uint16(n + 1),
					Last: uint16(n + 1)}}, Sources: sources}})
	}
	want := `version: 1
networks:
  partners: {file: networks/partners.txt}
services:
  - name: s0
    port: 1
    allow: [partners, 10.0.0.0/8]
  - name: s1
    port: 2
    allow: [any]
    except: [partners]
  - name: s2
    port: 3
    allow: [192.0.2.0/24]
`
	if diff := cmp.Diff(want, d.Document()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, want := d.Networks[0].List(), "192.0.2.0/24\n198.51.100.7\n203.0.113.0/25\n"; got != want {
		t.Errorf("the file has %q, want %q", got, want)
	}
}

// YAML reads back each text unchanged, with or without quotes.
func TestPlainOrQuoted(t *testing.T) {
	for text, plain := range map[string]bool{
		"sshd": true, "eth0.5": true, "10.0.0.1": true, "10.0.0.0/8": true, "/etc/x.txt": true, "./a": true,
		"$.prefixes": true, "a-b_c": true,
		"~": false, "=x": false, "=": false, "a\tb": false, "1_0": false, "22": false, "1e3": false, "0x1f": false,
		"1.5": false, ".5": false, ".inf": false, "-": false, "- a": false, "null": false, "No": false,
		"2001:db8::": false, "2026-01-01": false, "a: b": false, "a #b": false, "": false, "?": false, "<<": false,
		"12:30:45": false, "192.168": false, "é": false, "a\u0085": false, "$.a[*]": false,
	} {
		got := yamlScalar(text)
		if (got == text) != plain {
			t.Errorf("%q: %s", text, got)
		}
		var back any
		if err := yaml.Unmarshal([]byte(got), &back); err != nil || back != printable(text) {
			t.Errorf("%q: %s is read as %#v, %v", text, got, back, err)
		}
	}
}

// A network of one entry has its name in the document too, unless everything but a few sources is
// allowed.
func TestDocumentNamesSmallNetworks(t *testing.T) {
	everyone := address.Must("0.0.0.0/0", "::/0")
	admin := address.Must("192.0.2.7/32")
	d := Draft{Networks: []DraftNetwork{
		{Name: "pair", Sources: address.Must("10.0.0.0/8", "198.51.100.0/24")},
		{Name: "half", Sources: address.Must("128.0.0.0/1")},
		{Name: "admin", Sources: admin},
	}}
	for n, sources := range []address.Set{
		admin,
		address.Must("10.0.0.0/8", "192.0.2.7/32", "198.51.100.0/24"),
		everyone.Minus(admin),
		everyone.Minus(address.Must("64.0.0.0/8")),
		everyone,
	} {
		d.Services = append(d.Services,
			DraftService{Service: firewall.Service{Name: fmt.Sprintf("s%d", n),
				Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: uint16(n + 1),
					Last: uint16(n + 1)}}, Sources: sources}})
	}
	want := `version: 1
networks:
  pair: [10.0.0.0/8, 198.51.100.0/24]
  admin: [192.0.2.7]
services:
  - name: s0
    port: 1
    allow: [admin]
  - name: s1
    port: 2
    allow: [pair, admin]
  - name: s2
    port: 3
    allow: [any]
    except: [admin]
  - name: s3
    port: 4
    allow: [any]
    except: [64.0.0.0/8]
  - name: s4
    port: 5
    allow: [any]
`
	if diff := cmp.Diff(want, d.Document()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
