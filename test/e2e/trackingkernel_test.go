//go:build kernels

package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/connections"
)

// The first policy has the kernel track every connection, and when its table is full, new ones are
// lost, on unlisted ports too. What Portgrave tells of it is true then. The table's size can't be
// set in a network namespace, so this takes a machine of its own.
func TestTrackingTableFull(t *testing.T) { onEveryBackend(t, testTrackingTableFull) }

const trackingLimit = "/proc/sys/net/netfilter/nf_conntrack_max"

func testTrackingTableFull(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9099)
	w.Host.Run("modprobe", "nf_conntrack")
	w.Host.NFT("flush ruleset") // what the lab itself has translated, and so tracked
	before, err := os.ReadFile(trackingLimit)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(n string) {
		if err := os.WriteFile(trackingLimit, []byte(n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	limit("48")
	defer limit(strings.TrimSpace(string(before)))
	tracking := func() (seen connections.Tracking) {
		err := w.Host.Do(func() (err error) {
			seen, err = connections.ReadTracking(context.Background())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}
	if n := w.connected(100); n != 100 {
		t.Errorf("control: %d of 100 connections come about", n)
	}
	w.apply("services: [{name: metrics, port: 9090, allow: [10.20.0.0/16]}]\n")
	if n := w.connected(100); n > 48 || n < 40 {
		t.Errorf("%d of 100 connections come about where 48 can be tracked", n)
	}
	if seen := tracking(); seen.Idle() || seen.Limit != 48 || seen.Count < 40 {
		t.Errorf("with a full table: %+v", seen)
	}
}

// connected is how many connections to an unlisted port come about beside each other, up to n.
// Three that fail in a row are the end.
func (w *world) connected(n int) (open int) {
	for failed := 0; open < n && failed < 3; {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		c, err := w.Internet.Dial(ctx, "tcp", w.Host.At(9099, false).String())
		cancel()
		if err != nil {
			failed++
			continue
		}
		defer func() { _ = c.Close() }()
		open, failed = open+1, 0
	}
	return open
}
