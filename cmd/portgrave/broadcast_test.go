package main

import (
	"net"
	"testing"
)

// Networks of one or two addresses, and those of IPv6, have no broadcast address.
func TestBroadcastOf(t *testing.T) {
	for text, want := range map[string]string{
		"198.51.100.10/24": "198.51.100.255", "10.1.2.3/22": "10.1.3.255",
		"192.0.2.1/31": "", "192.0.2.1/32": "", "2001:db8::1/64": "",
	} {
		ip, n, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		n.IP = ip
		got := ""
		if a, ok := broadcastOf(n); ok {
			got = a.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
