package audit

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
)

// Sets that the rules name become networks of that name, however small they are.
func TestImportNamesSmallSets(t *testing.T) {
	rs := &exposure.Ruleset{}
	err := nfttext.Read("f", strings.NewReader(`table inet f {
	set admin { type ipv4_addr; elements = { 203.0.113.7 } }
	set admin6 { type ipv6_addr; flags interval; elements = { 2001:db8:7::/48 } }
	set offices { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 203.0.113.64/26 } }
	set bans { type ipv4_addr; elements = { 192.0.2.66 } }
	set everyone { type ipv4_addr; flags interval; elements = { 0.0.0.0/0 } }
	set unused { type ipv4_addr; elements = { 203.0.113.99 } }
	chain input {
		type filter hook input priority 0; policy drop;
		ip saddr @bans drop
		tcp dport 22 ip saddr @admin accept
		tcp dport 22 ip6 saddr @admin6 accept
		tcp dport 80 ip saddr @everyone accept
		tcp dport 443 ip saddr @offices accept
		udp dport 53 ip saddr @unused drop
	}
}
`), rs)
	if err != nil {
		t.Fatal(err)
	}
	rs.MarkDynamic()
	in := Input{
		Rules:   rs,
		Host:    world(),
		Sockets: listening("sshd [::]:22", "httpd 0.0.0.0:80", "web 0.0.0.0:443"),
		Now:     time.Now(),
	}
	out, err := Import(context.Background(), in, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, document, _ := strings.Cut(documentOf(out), "networks:\n")
	want := `  offices: [192.0.2.0/24, 203.0.113.64/26]
  bans: [192.0.2.66]
  admin: [203.0.113.7]
  admin6: ["2001:db8:7::/48"]
services:
  - name: sshd
    port: 22
    allow: [admin, admin6]
  - name: httpd
    port: 80
    allow: [0.0.0.0/0]
    except: [bans]
  - name: web
    port: 443
    allow: [offices]
    except: [bans]
`
	if diff := cmp.Diff(want, document); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
