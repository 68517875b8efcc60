package main

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"github.com/portgrave/portgrave/policy"
	"golang.org/x/sys/unix"
)

// errNoInternet: the unit of the daemon keeps it off the network, and says how it is let on.
var errNoInternet = errors.New(
	"the unit keeps this process off the network: for networks by url: or dns:, and metrics on a " +
		"TCP address, copy network.conf from " +
		"/usr/share/portgrave (or /usr/local/share/portgrave) to " +
		"/etc/systemd/system/portgrave.service.d/, then systemctl daemon-reload and systemctl restart portgrave",
)

// internet is errNoInternet where RestrictAddressFamilies= refuses sockets of the internet, which
// would otherwise show as anything from an unknown protocol to a name that does not resolve. A
// kernel without IPv4 gives the same answer, and then nothing is lost.
func internet() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return errNoInternet
	}
	if err == nil {
		_ = unix.Close(fd)
	}
	return nil
}

// refuseInternet has networks that live elsewhere fail with the reason, so that they keep their
// last good content, as stale.
func refuseInternet(n *policy.Networks, reason error) {
	n.HTTP = &http.Client{Transport: refusing{reason}}
	n.LookupIP = func(context.Context, string) ([]netip.Addr, error) { return nil, reason }
}

// refusing is a transport that reaches nobody.
type refusing struct{ reason error }

// RoundTrip implements http.RoundTripper.
func (r refusing) RoundTrip(*http.Request) (*http.Response, error) { return nil, r.reason }
