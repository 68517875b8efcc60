package policy

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

func listens(
	protocol firewall.Protocol, port uint16, program, unit string, at ...string,
) Listening {
	return Listening{firewall.PortRange{Protocol: protocol, First: port, Last: port}, program, unit,
		at}
}

// hostOfEight is a host on which eight services listen.
var hostOfEight = First{
	Host:   "web1",
	At:     time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC),
	Logins: address.Must("198.51.100.4/32", "2001:db8::4/128"),
	SSH:    []uint16{22},
	Listening: []Listening{
		listens(firewall.TCP, 22, "sshd", "ssh.service", "*"),
		listens(firewall.TCP, 443, "nginx", "nginx.service", "*"),
		listens(firewall.TCP, 80, "nginx", "nginx.service", "*"),
		listens(firewall.TCP, 53, "named", "bind9.service", "192.0.2.10"),
		listens(firewall.UDP, 53, "named", "bind9.service", "192.0.2.10"),
		listens(firewall.TCP, 5432, "postgres", "postgresql@17-main.service", "0.0.0.0", "::"),
		listens(firewall.TCP, 9100, "", "", "*"),
		listens(firewall.UDP, 123, "chronyd", "chrony.service", "0.0.0.0"),
		listens(firewall.TCP, 8080, "odd\x1b[31m # name: any", "", "*"),
		listens(firewall.TCP, 8081, "", "", "*"),
	},
}

const documentOfEight = `# A first policy for web1, made by portgrave init on 2026-12-01 08:00 UTC.
#
#   portgrave check                  is it valid?
#   portgrave plan                   what would change, and for whom?
#   portgrave apply --confirm 60s    put it in force, at first for a minute
#   portgrave confirm                keep it, once a new login has worked
#
# man portgrave-policy has every key.
version: 1

# Ports that no service lists: ignore leaves them as they are, deny closes them.
# Write deny once every service that others need is listed below.
unlisted: ignore

networks:
  # Where logins come from today. Add where you may come from tomorrow, such as
  # 203.0.113.0/24.
  admin: [198.51.100.4, "2001:db8::4"]

services:
  - name: ssh
    port: 22
    allow: [admin]

  # What else listens on this host. It stays as it is until you remove the #
  # before the lines of a service; then only those in allow get in. allow takes
  # addresses, CIDRs, networks, private (RFC 1918, RFC 4193, link-local) and any
  # (everybody).

  #- name: dns  # named (bind9.service) on 192.0.2.10
  #  port: 53
  #  protocol: [tcp, udp]
  #  allow: [admin]

  #- name: nginx  # nginx on *
  #  port: [80, 443]
  #  allow: [admin]

  #- name: ntp  # chronyd (chrony.service) on 0.0.0.0
  #  port: 123
  #  protocol: udp
  #  allow: [admin]

  #- name: postgresql  # postgres (postgresql@17-main.service) on 0.0.0.0, ::
  #  port: 5432
  #  allow: [admin]

  #- name: http-alt  # odd [31m # name: any on *
  #  port: 8080
  #  allow: [admin]

  #- name: tcp-8081  # an unknown program on *
  #  port: 8081
  #  allow: [admin]

  #- name: node-exporter  # an unknown program on *
  #  port: 9100
  #  allow: [admin]
`

func TestFirst(t *testing.T) {
	if got := hostOfEight.Document(); got != documentOfEight {
		t.Errorf("%s", got)
	}
	compiled(t, documentOfEight, 1)
	compiled(t, uncommented(documentOfEight), 8)
}

// Whatever listens, lines fit a screen of 80 columns, and services stay services.
func TestFirstFits(t *testing.T) {
	f := First{Logins: address.Must("198.51.100.4/32"), SSH: []uint16{22}, Listening: []Listening{
		listens(firewall.TCP, 8080, "postgres", strings.Repeat("long-", 40)+".service", "0.0.0.0",
			"2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:7", "2001:db8:1:2:3:4:5:8"),
		listens(firewall.UDP, 8081, strings.Repeat("name", 12), "a-unit.service", "192.0.2.10"),
	}}
	text := f.Document()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if !strings.Contains(text, "2001:db8:1:2:3:4:5:8") {
		t.Errorf("who listens is not all there:\n%s", text)
	}
	compiled(t, uncommented(text), 3)
}

// A host without an SSH server has suggestions alone.
func TestFirstWithoutSSH(t *testing.T) {
	f := hostOfEight
	f.SSH, f.Logins, f.Listening = nil, address.Set{}, f.Listening[1:]
	text := f.Document()
	compiled(t, text, 0)
	text = strings.Replace(text, "services: []\n", "", 1)
	text = strings.Replace(text, "#services:", "services:", 1)
	compiled(t, uncommented(text), 7)
	f.Listening = nil
	compiled(t, f.Document(), 0)
}

// Whatever listens, each port is in one service, and the names differ.
func TestFirstOfMany(t *testing.T) {
	f := hostOfEight
	for i := range 300 {
		port := uint16(20000 + i)
		for _, p := range firewall.Protocols[:1+i%3] {
			f.Listening = append(f.Listening, listens(p, port, []string{"worker", "", "Ω", "a b",
				strings.Repeat("x", 100), "10.0.0.1", "true"}[i%7], fmt.Sprint("u", i%4), "*"))
		}
	}
	c := compiled(t, uncommented(f.Document()), -1)
	index := c.State.Index()
	for _, l := range f.Listening {
		if asked := index.Ask(l.Port.Protocol, l.Port.First, ""); len(asked.Services) != 1 {
			t.Errorf("%v is in %d services", l.Port, len(asked.Services))
		}
	}
}

// uncommented is what a person makes of the suggestions: the # goes.
func uncommented(text string) string {
	return regexp.MustCompile(`(?m)^  #(- |  )`).ReplaceAllString(text, "  $1")
}

// compiled reads a policy without warnings, and counts its services; -1 takes any number.
func compiled(t *testing.T, text string, services int) *Compiled {
	t.Helper()
	p, err := Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	c, err := p.Compile(context.Background(), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if services >= 0 && len(c.State.Services) != services {
		t.Errorf("%d services, want %d:\n%s", len(c.State.Services), services, text)
	}
	warnings := p.Lint(c, time.Now())
	if len(c.Warnings)+len(warnings) > 0 && services >= 0 {
		t.Errorf("%v %v", c.Warnings, warnings)
	}
	return c
}
