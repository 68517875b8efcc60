package main

import (
	"github.com/portgrave/portgrave/cmd/portgrave/daemon"
	"github.com/portgrave/portgrave/firewall"
)

func openCommits(r *firewall.Reconciler) (daemon.Commits, func(), error) {
	return nil, func() {}, nil
}
