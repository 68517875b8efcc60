package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
)

// What a policy writes, and what its networks hold as far as the text alone says.
func TestWritten(t *testing.T) {
	p, err := Parse("policy.yaml", []byte(`
version: 1
networks:
  office: [203.0.113.0/24, vpn]
  vpn: [10.8.0.0/16]
  cdn: {file: cdn.txt}
  partners: [cdn, 192.0.2.0/24]
  unused: [192.0.2.1]
services:
  - {name: web, port: [443, 80, 81], allow: [office, partners, 198.51.100.7], except: [10.8.0.9]}
  - {name: dns, port: 53, protocol: [tcp, udp], allow: [{cidr: 192.0.2.0/28, expires: 2127-01-31}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, contents := range []map[string]address.Set{
		nil, {"cdn": address.Must("198.51.100.0/25")},
	} {
		w := p.Written(contents)
		web := w.Services["web"]
		if len(web.Allow) != 3 || web.Allow[0].Network != "office" ||
			web.Allow[2].String() != "198.51.100.7" || web.Except[0].String() != "10.8.0.9" {
			t.Errorf("web is written as %+v", web)
		}
		if len(web.Ports) != 3 || web.Ports[0] != "tcp/443" {
			t.Errorf("its ports as %v", web.Ports)
		}
		dns := w.Services["dns"]
		if len(dns.Ports) != 2 || !dns.Allow[0].Expires.Equal(
			time.Date(2127, 2, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("dns is written as %+v", dns)
		}
		if got := w.Networks["office"]; !got.Equal(address.Must("203.0.113.0/24", "10.8.0.0/16")) {
			t.Errorf("office holds %v", got)
		}
		_, cdn := w.Networks["cdn"]
		_, partners := w.Networks["partners"]
		if known := contents != nil; cdn != known || partners != known {
			t.Errorf("with %v, cdn is known: %v, partners: %v", contents, cdn, partners)
		}
		if at := web.Allow[1].At; at.File != "policy.yaml" || at.Line != 10 {
			t.Errorf("partners stands at %+v", at)
		}
		var lines []string
		for _, l := range web.Lines {
			lines = append(lines, fmt.Sprintf("%d %s: %s", l.Line, l.Key, l.Text))
		}
		if got, want := strings.Join(lines, "\n"), `10 name: web
10 port: [443, 80, 81]
4 networks.office: [203.0.113.0/24, vpn]
7 networks.partners: [cdn, 192.0.2.0/24]`; got != want {
			t.Errorf("its lines are\n%s", got)
		}
		if _, any := w.Networks["any"]; !any {
			t.Error("any is not known")
		}
	}
}
