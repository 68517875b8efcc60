package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
)

// scrape is where metrics are served besides the control socket, for a Prometheus that can't read
// sockets: a loopback address that the policy names. The policy lets no other address through;
// everyone who can log in on the host may read them.
type scrape struct {
	address string
	server  *http.Server
	guard   func(net.Listener) net.Listener // keeps descriptors for repairs
}

// serve makes the address the given one; "" serves nowhere. An address that is taken is tried again
// with the next reading.
func (s *scrape) serve(address string, metrics http.Handler) error {
	if s.server != nil && address == s.address {
		return nil
	}
	s.close()
	if address == "" {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EAFNOSUPPORT) ||
		err != nil && strings.Contains(err.Error(), "no suitable address") {
		// Without sockets of the internet, package net takes the address itself for a wrong one.
		return fmt.Errorf(
			"metrics can't be served at %s: the unit keeps the daemon off the network: network.conf, "+
				"from /usr/share/portgrave, in /etc/systemd/system/portgrave.service.d/ lets it (%w)",
			address,
			err,
		)
	}
	if err != nil {
		return fmt.Errorf("metrics can't be served at %s: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	s.address = address
	s.server = &http.Server{
		Handler:      api.Paths(mux, "/metrics"),
		ReadTimeout:  10 * time.Second,
		WriteTimeout: 30 * time.Second,
	}
	if s.guard != nil {
		l = s.guard(l)
	}
	api.Serve(s.server, l)
	return nil
}

func (s *scrape) close() {
	if s.server != nil {
		_ = s.server.Close()
		s.server = nil
	}
}
