package xt

import (
	"fmt"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// The port tree gives every port its service with at most sixteen rules on each of four levels,
// however many there are.
func TestPortTree(t *testing.T) {
	var services []firewall.Service
	want := map[uint16]string{}
	for i := range 2000 {
		port := uint16(1 + i*i%65535)
		if want[port] != "" {
			continue
		}
		want[port] = fmt.Sprintf("s%d", i)
		services = append(
			services,
			firewall.Service{
				Name:  want[port],
				Log:   firewall.LogNone,
				Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: port, Last: port}},
			},
		)
	}
	state := backendtest.Canonical(
		t,
		firewall.State{
			Unlisted:    firewall.UnlistedIgnore,
			Refuse:      firewall.RefuseDrop,
			Established: firewall.EstablishedCut,
			Services:    services,
		},
	)
	chains := compile(
		state,
		time.Now(),
		nil,
		mustHost(newFakeKernel(legacy)),
	).at(tableKey{legacy, address.IPv4, mangle}).
		chains
	k := newFakeKernel(legacy)
	for port := range 1 << 16 {
		met := 0
		name := portsChain + "-tcp"
		for found := true; found && isDispatch(name); {
			found = false
			for _, r := range chains[name].rules {
				met++
				matches := true
				for _, o := range parsed(r.text) {
					matches = matches &&
						k.matches(
							o,
							firewall.Flow{Protocol: firewall.TCP, Port: uint16(port)},
							false,
						)
				}
				if matches {
					name, found = r.target, true
					break
				}
			}
			if !found {
				name = ""
			}
		}
		got := ""
		if name != "" {
			got = serviceOf(name)
		}
		if got != want[uint16(port)] {
			t.Fatalf("port %d leads to %q, want %q", port, got, want[uint16(port)])
		}
		if met > 1+4*maxFanOut {
			t.Fatalf("port %d meets %d rules", port, met)
		}
	}
}
