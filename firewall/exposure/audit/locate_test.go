package audit

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// Without a route to the client, interface and address are guessed, and that is said. The answer is
// then lost.
func TestLocateGuesses(t *testing.T) {
	for name, c := range map[string]struct {
		ask       Packet
		host      func(h *exposure.Host)
		at, guess string // guess "": none
	}{
		"the first interface of hardware": {at: "eth0 198.51.100.10", guess: "comes by eth0"},
		"a bridge listed first": {host: func(h *exposure.Host) {
			h.Interfaces[1].Kind, h.Interfaces[2].Kind = "bridge", ""
			h.Interfaces[1].Name, h.Interfaces[2].Name = h.Interfaces[2].Name, h.Interfaces[1].Name
		}, guess: "comes by eth0"},
		"the interface is named": {ask: Packet{Interface: "eth0"}, at: "eth0 198.51.100.10"},
		"the address is named":   {ask: Packet{Destination: netip.MustParseAddr("198.51.100.10")}, at: "eth0 198.51.100.10"},
		"the interface has no address": {ask: Packet{Interface: "eth0"}, host: func(h *exposure.Host) {
			h.Interfaces[1].Addresses = nil
		}, at: "eth0 172.17.0.1", guess: "is for 172.17.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			h := world()
			h.Routes = slices.DeleteFunc(
				h.Routes,
				func(r exposure.Route) bool { return r.Dest.Bits() == 0 },
			)
			if c.host != nil {
				c.host(h)
			}
			c.ask.From, c.ask.Port, c.ask.Protocol = netip.MustParseAddr(
				"8.8.8.8",
			), 80, firewall.TCP
			p, err := Locate(h, c.ask)
			if err != nil {
				t.Fatal(err)
			}
			if at := p.Interface + " " + p.Destination.String(); c.at != "" && at != c.at {
				t.Errorf("located at %s", at)
			}
			x, err := Explain(
				Input{
					Rules:   rules(t, ""),
					Host:    h,
					Now:     time.Now(),
					Sockets: listening("web 0.0.0.0:80"),
				},
				p,
			)
			if err != nil || x.Reason != ReplyLost {
				t.Errorf("%v, %s", err, x.Summary)
			}
			said := strings.Join(x.Assumed, "; ")
			if !strings.Contains(said, c.guess) || c.guess == "" && said != "" {
				t.Errorf("assumed %q", said)
			}
		})
	}
}

// If nothing can be guessed, the error says what to name.
func TestLocateFails(t *testing.T) {
	h := world()
	for i := range h.Interfaces[1:] {
		h.Interfaces[1+i].Addresses = nil
	}
	h.Routes = nil
	_, err := Locate(
		h,
		Packet{From: netip.MustParseAddr("8.8.8.8"), Port: 80, Protocol: firewall.TCP},
	)
	if err == nil || !strings.Contains(err.Error(), "--interface") ||
		!strings.Contains(err.Error(), "--to") {
		t.Error(err)
	}
}
