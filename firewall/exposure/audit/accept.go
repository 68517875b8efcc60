package audit

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Accept is a finding that is known and wanted: of that kind, at those ports and that address, and
// no other.
type Accept struct {
	Kind    Kind
	Ports   firewall.PortRange
	Address netip.Addr // the zero Addr: any
	Reason  string
	Until   time.Time // zero: for good
}

// Accepted is why a finding doesn't count. Its JSON is a contract.
type Accepted struct {
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"`
}

// about reports whether an accept is about a finding at a row: all of its ports and addresses.
func (a Accept) about(k Kind, x *Exposure) bool {
	p, err := firewall.ParseProtocol(x.Protocol)
	if err != nil || k != a.Kind || p != a.Ports.Protocol || x.Port == 0 {
		return false
	}
	if last := max(x.Port, x.PortLast); x.Port < a.Ports.First || last > a.Ports.Last {
		return false
	}
	if !a.Address.IsValid() {
		return true
	}
	addresses := x.Addresses
	if len(addresses) == 0 {
		addresses = []string{x.Address}
	}
	for _, s := range addresses {
		if at, err := netip.ParseAddr(s); err != nil || at != a.Address {
			return false
		}
	}
	return true
}

// accepted is what the policy says of a finding at a row: nil if it isn't accepted. ended is the
// accept that was about it until its time was over.
func (a *auditor) accepted(k Kind, x *Exposure) (known *Accepted, ended *Accept) {
	for i, accept := range a.Accept {
		switch {
		case !accept.about(k, x):
		case accept.Until.IsZero() || accept.Until.After(a.Now):
			return &Accepted{accept.Reason, accept.Until}, nil
		default:
			ended = &a.Accept[i]
		}
	}
	return nil, ended
}

// endedWords say that a finding was accepted.
func endedWords(a *Accept) string {
	return fmt.Sprintf("; it was accepted until %s (%s)", a.Until.UTC().Format("2006-01-02 15:04 MST"),
		a.Reason)
}

// settle marks what is accepted, and shows in each row the gravest finding that isn't.
func (a *auditor) settle() {
	for i := range a.report.Findings {
		f := &a.report.Findings[i]
		row := Exposure{Protocol: f.Protocol, Port: f.Port, PortLast: f.PortLast,
			Address: f.Address, Addresses: f.addresses}
		known, ended := a.accepted(f.Kind, &row)
		if f.Accepted = known; ended != nil && known == nil {
			f.Detail += endedWords(ended)
		}
	}
	for i := range a.report.Exposures {
		x := &a.report.Exposures[i]
		if x.Finding == "" {
			x.Finding = OK
		}
		var shown *rowFinding
		for n := range x.found {
			f := &x.found[n]
			f.accepted, _ = a.accepted(f.kind, f.placeIn(x))
			if shown == nil || f.graver(shown) {
				shown = f
			}
		}
		if shown != nil {
			x.Finding, x.Severity, x.Accepted = shown.kind, shown.severity, shown.accepted
		}
	}
}

// rowFinding is a finding about a row.
type rowFinding struct {
	kind     Kind
	severity Severity
	accepted *Accepted
	// socket is the address of the socket that the finding is about; "" if it is about the row. A
	// row of a socket that is bound to every address may be about one of them.
	socket string
}

// placeIn is the row as far as an accept is compared with it: at the address of the finding.
func (f *rowFinding) placeIn(x *Exposure) *Exposure {
	if f.socket == "" {
		return x
	}
	at := *x
	at.Address, at.Addresses = f.socket, nil
	return &at
}

// graver reports whether a row shows this finding rather than another one: what isn't accepted
// first, then the severer.
func (f *rowFinding) graver(o *rowFinding) bool {
	if (f.accepted == nil) != (o.accepted == nil) {
		return f.accepted == nil
	}
	if f.severity != o.severity {
		return f.severity.AtLeast(o.severity)
	}
	return rank(f.kind) < rank(o.kind)
}
