package lease

import (
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func tcp(first, last uint16) firewall.PortRange {
	return firewall.PortRange{Protocol: firewall.TCP, First: first, Last: last}
}

func udp(first, last uint16) firewall.PortRange {
	return firewall.PortRange{Protocol: firewall.UDP, First: first, Last: last}
}

// stateOf is a State under unlisted: ignore.
func stateOf(t testing.TB, services ...firewall.Service) firewall.State {
	return inMode(t, firewall.UnlistedIgnore, services...)
}

func inMode(t fataler, mode firewall.Unlisted, services ...firewall.Service) firewall.State {
	t.Helper()
	for i := range services {
		if services[i].Log == "" {
			services[i].Log = firewall.LogDenied
		}
	}
	s, err := firewall.State{
		Unlisted:    mode,
		Refuse:      firewall.RefuseDrop,
		Established: firewall.EstablishedCut,
		Essentials:  firewall.AllEssentials,
		Services:    services,
	}.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// leaseOf is a lease of two hours from noon on.
func leaseOf(source string, ports ...firewall.PortRange) Lease {
	return Lease{
		ID:      "bcdfgh",
		Ports:   ports,
		Sources: address.Must(source),
		Opened:  noon,
		Until:   noon.Add(2 * time.Hour),
		User:    "root",
		Reason:  "INC-42",
	}
}

func applied(t testing.TB, s firewall.State, now time.Time, leases ...Lease) firewall.State {
	t.Helper()
	out, err := Apply(s, leases, now)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fataler is what *testing.T and *rapid.T have in common here.
type fataler interface {
	Helper()
	Fatal(...any)
}
