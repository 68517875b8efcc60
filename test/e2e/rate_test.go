package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/test/lab"
)

// addressesFrom lists addresses that differ in their last four bytes, ascending.
func addressesFrom(first netip.Addr, n int) []netip.Addr {
	raw := first.AsSlice()
	at := binary.BigEndian.Uint32(raw[len(raw)-4:])
	out := make([]netip.Addr, n)
	for i := range out {
		binary.BigEndian.PutUint32(raw[len(raw)-4:], at+uint32(i))
		out[i], _ = netip.AddrFromSlice(slices.Clone(raw))
	}
	return out
}

// open counts the sources that got through.
func open(answers map[netip.Addr]lab.Answer) (n int) {
	for _, a := range answers {
		if a == lab.Open {
			n++
		}
	}
	return n
}

// One host has a whole network of IPv6 addresses to send from: they share a rate.
func TestRateOfOneNetwork(t *testing.T) { onEveryBackend(t, testRateOfOneNetwork) }

func testRateOfOneNetwork(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090)
	network := netip.MustParsePrefix("2a00:9:1::/64")
	w.AddSources(w.Internet, network)
	w.AddSources(w.Internet, netip.MustParsePrefix("2a00:9:2::/64"))
	const burst = 20
	for _, refuse := range []string{"drop", "reject"} {
		w.apply(
			fmt.Sprintf(
				"refuse: %s\nservices: [{name: metrics, port: 9090, allow: [any], rate: {per_source: 1/hour, burst: %d}}]\n",
				refuse,
				burst,
			),
		)
		first := map[string]string{"drop": "2a00:9:1::1:0", "reject": "2a00:9:2::1:0"}[refuse]
		answers := w.Probe(
			w.Internet,
			addressesFrom(netip.MustParseAddr(first), 70_000),
			netip.AddrPortFrom(host6, 9090),
			lab.Attempts(1),
		)
		if n := open(answers); n == 0 || n > burst {
			t.Errorf(
				"%s: %d of 70 000 addresses of one network got in, want 1 to %d",
				refuse,
				n,
				burst,
			)
		}
	}
	w.apply(
		"services: [{name: metrics, port: 9090, allow: [any], rate: {per_source: 1/hour, burst: 1, ipv6_prefix: 128}}]\n",
	)
	sources := addressesFrom(netip.MustParseAddr("2a00:9:2::2:0"), 500)
	if n := open(w.Probe(w.Internet, sources, netip.AddrPortFrom(host6, 9090))); n != len(sources) {
		t.Errorf("with ipv6_prefix: 128, %d of %d addresses got in", n, len(sources))
	}
}

// While the kernel remembers as many sources as it may, new ones are refused; those it knows keep
// their rate.
func TestFullRateTable(t *testing.T) { onEveryBackend(t, testFullRateTable) }

func testFullRateTable(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.serve(9090)
	w.AddSources(w.Internet, netip.MustParsePrefix("9.0.0.0/8"))
	w.apply(
		"\nservices: [{name: metrics, port: 9090, allow: [any], rate: {per_source: 2/day, burst: 2}, log: none}]\n",
	)
	to := netip.AddrPortFrom(host4, 9090)
	const room, more = firewall.RateMemorySize, 20_000
	sources := addressesFrom(netip.MustParseAddr("9.0.0.1"), room+more)
	if n := open(w.Probe(w.Internet, sources, to, lab.Attempts(1))); n < room*9/10 || n > room {
		t.Fatalf("%d of %d sources got in, want up to %d", n, len(sources), room)
	}
	if n := open(w.Probe(w.Internet, addressesFrom(netip.MustParseAddr("9.200.0.1"), 100), to, lab.Attempts(1))); n > 0 {
		t.Errorf("%d of 100 new sources got in although the table is full", n)
	}
	w.tellsThatItIsFull("metrics", address.IPv4)
	if n := open(w.Probe(w.Internet, sources[:100], to, lab.Attempts(1))); n != 100 {
		t.Errorf("%d of 100 sources that are known got in a second time", n)
	}
	if n := open(w.Probe(w.Internet, sources[:100], to, lab.Attempts(1))); n > 0 {
		t.Errorf("%d of 100 sources got in a third time, above their rate", n)
	}
}

// tellsThatItIsFull asks the backend how full a service's table is.
func (w *world) tellsThatItIsFull(service string, f address.Family) {
	w.t.Helper()
	var fills []firewall.TableFill
	err := w.Host.Do(func() (err error) {
		fills, err = w.rec.Backend.(firewall.Filling).Fill(context.Background(), []string{service})
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
	for _, t := range fills {
		if t.Service != service || t.Family != f {
			continue
		}
		if !t.Full() {
			w.t.Errorf(
				"the table has %d sources and room for %d: it isn't told that it is full",
				t.Sources,
				t.Room,
			)
		}
		if w.rec.Backend.Name() == "nftables" && t.Turned == 0 {
			w.t.Error("packets that there was no room for are not counted")
		}
		return
	}
	w.t.Errorf("nothing is reported of the table of %s: %+v", service, fills)
}

// A published port with a rate is counted once, wherever its packets go.
func TestRateOfPublishedPort(t *testing.T) { onEveryBackend(t, testRateOfPublishedPort) }

func testRateOfPublishedPort(t *testing.T, e engine) {
	w := newWorld(t, e)
	w.Container.ListenTCP(80)
	w.Publish("tcp", 9090, 80)
	const burst = 6
	w.apply(
		fmt.Sprintf(
			"\nservices: [{name: metrics, port: 9090, allow: [any], rate: {per_source: 1/hour, burst: %d}}]\n",
			burst,
		),
	)
	for _, to := range []netip.Addr{host4, host6} {
		n := 0
		for range burst + 3 {
			want := lab.Open
			if n == burst {
				want = lab.Dropped
			}
			if (ask{want, w.Internet, whichever, to, 9090}).try(lab.TCP) == lab.Open {
				n++
			}
		}
		if n != burst {
			t.Errorf("%d connections to %v got in, want %d", n, to, burst)
		}
	}
}
