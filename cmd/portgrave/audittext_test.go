package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/firewall/host/usage"
)

// The summary says "are" of what is certain, and that ports aren't judged beside findings, too.
func TestAuditSummary(t *testing.T) {
	all := address.Must("0.0.0.0/0", "::/0")
	row := func(port uint16, certain, possible address.Set) (x audit.Exposure) {
		x.Protocol, x.Port = "tcp", port
		x.Reachable.Certain, x.Reachable.Possible = certain, possible
		return x
	}
	r := audit.Report{Exposures: []audit.Exposure{
		row(80, all, all), row(81, address.Set{}, all), row(81, address.Set{}, all),
		row(82, address.Set{}, address.Must("10.0.0.0/8")),
	}}
	r.Host = "web1"
	r.Unjudged = true
	summary := func() string {
		var out bytes.Buffer
		printAudit(&screen{out: &output{to: &out}}, r)
		return strings.Join(strings.Fields(out.String()), " ")
	}
	ports := "1 port is reachable from everywhere, or most of it: tcp/80. " +
		"1 port may be reachable from everywhere, or most of it: tcp/81. Audit of web1"
	unjudged := "No policy is given, so the ports aren't judged: name one with --config. "
	if got := summary(); !strings.HasPrefix(got, unjudged+ports) {
		t.Error(got)
	}
	r.Findings = []audit.Finding{{Kind: audit.Undecided, Severity: audit.Warning}}
	r.Evidence.GenerationUnknown = true
	got := summary()
	if !strings.HasPrefix(got, "1 warning. "+unjudged+ports) {
		t.Error(got)
	}
	if !strings.Contains(got, "; which generation is in force is unknown.") {
		t.Error(got)
	}
}

// A process whose name begins with - keeps it.
func TestListenerWords(t *testing.T) {
	if got := listenerWords(audit.Exposure{Process: "-bash", Address: "*"}); got != "-bash *" {
		t.Error(got)
	}
	if got := listenerWords(audit.Exposure{Address: "*"}); got != "*" {
		t.Error(got)
	}
}

// The widest rows of audit and status fit into 80 columns.
func TestTablesFit(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &output{to: &out}}
	long := strings.Repeat("long-word-", 8)
	var r audit.Report
	for _, on := range []string{long, "eth0"} {
		x := audit.Exposure{Process: long, Interface: on, Declared: true, AllowedFrom: long,
			From: long, Finding: audit.WiderThanPolicy}
		x.Protocol, x.Port, x.PortLast, x.Address = "sctp", 10000, 65535, "*"+on
		r.Exposures = append(r.Exposures, x)
	}
	auditPrinter{s, r}.exposures()
	x := serviceStatus{}
	x.Name, x.Ports = long, []string{long}
	x.FromCount, x.From = 1, []host.Entries{{Entry: long}}
	x.Allowed = map[string]firewall.Counter{"total": {Packets: 99_999}}
	x.Refused = x.Allowed
	now := time.Now()
	x.Usage = &usage.Usage{AllowedPerMinute: 99_999, RefusedPerMinute: 99_999,
		LastAllowed: &usage.Window{After: now.Add(-999 * 24 * time.Hour), Before: now}}
	statusPrinter{s, statusResult{Services: []serviceStatus{x}}, now}.services()
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > minColumns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// A prefix of IPv6 keeps its length, and single addresses lose it.
func TestPrefixWords(t *testing.T) {
	s := address.Must("192.0.2.7/32", "198.51.100.0/24", "2001:db8::/32", "fd00::1/128")
	want := "192.0.2.7, 198.51.100.0/24, 2001:db8::/32, fd00::1"
	if got := strings.Join(prefixWords(s, 9), ", "); got != want {
		t.Error(got)
	}
	if got := strings.Join(prefixWords(s, 1), ", "); got != "192.0.2.7" {
		t.Error(got)
	}
	if got := audit.PrefixWords(address.Must("2001:db8::/32")); got != "2001:db8::/32" {
		t.Error(got)
	}
}

// A process of OpenSSH that serves one session is its server, too.
func TestSSHServerByName(t *testing.T) {
	for name, want := range map[string]bool{"sshd": true, "sshd-session": true, "nginx": false} {
		var o sockets.Owner
		o.Name = name
		l := sockets.Listener{Port: 2222, Owners: []sockets.Owner{o}}
		if isSSHServer(l) != want {
			t.Error(name)
		}
	}
}
