package audit

import (
	"net/netip"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/policy"
)

// An accept is about what it names and about nothing else.
func TestAcceptIsExact(t *testing.T) {
	port := func(first, last uint16) firewall.PortRange {
		return firewall.PortRange{Protocol: firewall.TCP, First: first, Last: last}
	}
	row := Exposure{Protocol: "tcp", Port: 3000, Address: "0.0.0.0"}
	at := netip.MustParseAddr
	for name, c := range map[string]struct {
		accept Accept
		kind   Kind
		change func(*Exposure)
		want   bool
	}{
		"itself":        {Accept{Kind: Undeclared, Ports: port(3000, 3000)}, Undeclared, nil, true},
		"another kind":  {Accept{Kind: Undeclared, Ports: port(3000, 3000)}, WiderThanPolicy, nil, false},
		"another port":  {Accept{Kind: Undeclared, Ports: port(3001, 3001)}, Undeclared, nil, false},
		"a range":       {Accept{Kind: Undeclared, Ports: port(2999, 3001)}, Undeclared, nil, true},
		"the address":   {Accept{Kind: Undeclared, Ports: port(3000, 3000), Address: at("0.0.0.0")}, Undeclared, nil, true},
		"not that":      {Accept{Kind: Undeclared, Ports: port(3000, 3000), Address: at("192.0.2.1")}, Undeclared, nil, false},
		"half a range":  {Accept{Kind: Undeclared, Ports: port(3000, 3000)}, Undeclared, func(x *Exposure) { x.PortLast = 3001 }, false},
		"udp":           {Accept{Kind: Undeclared, Ports: port(3000, 3000)}, Undeclared, func(x *Exposure) { x.Protocol = "udp" }, false},
		"two addresses": {Accept{Kind: Undeclared, Ports: port(3000, 3000), Address: at("192.0.2.1")}, Undeclared, func(x *Exposure) { x.Addresses = []string{"192.0.2.1", "192.0.2.2"} }, false},
		"no port":       {Accept{Kind: Undeclared, Ports: port(0, 3000)}, Undeclared, func(x *Exposure) { x.Port = 0 }, false},
	} {
		x := row
		if c.change != nil {
			c.change(&x)
		}
		if got := c.accept.about(c.kind, &x); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What is accepted doesn't hide what is not, and counts again when its time is over.
func TestSettle(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	accept := func(k Kind, until time.Time) Accept {
		return Accept{Kind: k, Ports: firewall.PortRange{Protocol: firewall.TCP, First: 22, Last: 22},
			Reason: "known", Until: until}
	}
	for name, c := range map[string]struct {
		accept   []Accept
		finding  Kind
		severity Severity
		accepted bool
		open     int
	}{
		"nothing":       {nil, Undeclared, Critical, false, 2},
		"the grave one": {[]Accept{accept(Undeclared, time.Time{})}, BoundWider, Note, false, 1},
		"both": {[]Accept{accept(Undeclared, now.Add(time.Hour)), accept(BoundWider, time.Time{})},
			Undeclared, Critical, true, 0},
		"it ended": {[]Accept{accept(Undeclared, now)}, Undeclared, Critical, false, 2},
	} {
		a := &auditor{Input: Input{Now: now, Accept: c.accept}}
		x := Exposure{Protocol: "tcp", Port: 22, Address: "0.0.0.0", Finding: OK}
		a.find(&x, Undeclared, allFamily, "undeclared")
		a.find(&x, BoundWider, address.Set{}, "bound wider")
		a.report.Exposures = []Exposure{x}
		a.settle()
		got := a.report.Exposures[0]
		n := 0
		for _, f := range a.report.Findings {
			if f.Accepted == nil {
				n++
			}
		}
		if got.Finding != c.finding || got.Severity != c.severity ||
			(got.Accepted != nil) != c.accepted || n != c.open {
			t.Errorf("%s: %s %s %v, %d open", name, got.Severity, got.Finding, got.Accepted, n)
		}
	}
}

// A finding about a socket is accepted at the address that the socket is bound to, in its rows too,
// which are about single addresses.
func TestAcceptAtTheSocketsAddress(t *testing.T) {
	for at, want := range map[string]bool{"0.0.0.0": true, "198.51.100.10": false} {
		r := audited(t, Input{
			Rules: rules(t, "*filter\n:INPUT DROP [0:0]\n-A INPUT -d 198.51.100.10/32 -p tcp "+
				"--dport 22 -j ACCEPT\nCOMMIT\n"),
			Host:    withAddresses("198.51.100.20/24"),
			Sockets: listening("sshd 0.0.0.0:22"),
			Policy: state(t, "services: [{name: ssh, port: 22, allow: [any], "+
				"addresses: [198.51.100.10]}]"),
			Accept: []Accept{{Kind: BoundWider, Reason: "known", Address: netip.MustParseAddr(at),
				Ports: firewall.PortRange{Protocol: firewall.TCP, First: 22, Last: 22}}},
		})
		rows, findings := 0, 0
		for _, x := range r.Exposures {
			if x.Finding == BoundWider {
				if rows++; len(x.Addresses) == 0 || (x.Accepted != nil) != want {
					t.Errorf("accepted at %s: row %v, accepted %v", at, x.Addresses, x.Accepted)
				}
			}
		}
		for _, f := range r.Findings {
			if f.Kind == BoundWider {
				if findings++; (f.Accepted != nil) != want {
					t.Errorf("accepted at %s: finding at %s, accepted %v", at, f.Address, f.Accepted)
				}
			}
		}
		if rows == 0 || findings == 0 {
			t.Errorf("%d rows and %d findings: %+v", rows, findings, r.Exposures)
		}
	}
}

// The policy can name each kind that is about a port, and no other.
func TestAcceptableFindings(t *testing.T) {
	names := map[string]bool{}
	for _, name := range policy.AcceptableFindings {
		names[name] = true
	}
	for _, k := range Kinds() {
		if want := k != OK && k != Expired && k != Expiring; names[string(k)] != want {
			t.Errorf("%s can be accepted: %v", k, !want)
		}
		delete(names, string(k))
		if severity, text := KindText(k); k != OK && (severity == "" || text == "") {
			t.Errorf("%s has no text for the manual", k)
		}
	}
	if len(names) > 0 {
		t.Errorf("no kinds: %v", names)
	}
}

func TestSeverity(t *testing.T) {
	office := address.Must("203.0.113.0/24")
	for _, c := range []struct {
		kind    Kind
		sources address.Set
		certain bool
		want    Severity
	}{
		{Bypass, office, true, Critical},
		{WiderThanPolicy, office, true, Critical},
		{WiderThanPolicy, allFamily, false, Warning},
		{Undeclared, allFamily, true, Critical},
		{Undeclared, allV4.Minus(office), true, Critical},
		{Undeclared, office, true, Warning},
		{Undeclared, allFamily, false, Warning},
		{Undecided, allFamily, true, Warning},
		{RateLimited, allFamily, true, Note},
		{NotListening, address.Set{}, true, Note},
		{OK, address.Set{}, true, ""},
	} {
		if got := severityOf(c.kind, c.sources, c.certain); got != c.want {
			t.Errorf("%s from %v, certain %v: %s", c.kind, c.sources.Strings(), c.certain, got)
		}
	}
	if !Critical.AtLeast(Warning) || Note.AtLeast(Warning) || Severity("").AtLeast(Note) {
		t.Error("severities are out of order")
	}
}
