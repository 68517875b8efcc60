package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/nft"
)

// backend takes the CPU time of each step of the nftables backend, and tells how much memory the first load took, from reading the sources on.
func backend(family firewall.Family, n int, times map[string]float64) (kib int, err error) {
	file, err := stored(family, n)
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(file) }()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak counts from here on
		return 0, err
	}
	b, err := nft.New()
	if err != nil {
		return 0, err
	}
	r := firewall.Reconciler{Backend: b, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	take := func(step string, p firewall.Prefixes, changes bool) error {
		want, err := firewall.State{Unlisted: firewall.UnlistedIgnore, Refuse: firewall.RefuseDrop, Established: firewall.EstablishedCut, Services: []firewall.Service{
			{Name: "big", Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 9090, Last: 9090}}, Sources: p, Log: firewall.LogNone}}}.Canonical()
		if err != nil {
			return err
		}
		start := cpu()
		out, err := r.Apply(context.Background(), &want, false)
		times[step] = millis(cpu() - start)
		if err == nil && out.Plan.InSync() == changes {
			err = fmt.Errorf("%s: changes were expected: %v", step, changes)
		}
		return err
	}
	start := cpu()
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	first, _, err := firewall.ReadPrefixes(raw)
	if err != nil {
		return 0, err
	}
	raw = nil
	reading := millis(cpu() - start)
	if err := take(steps[1], first, true); err != nil {
		return 0, err
	}
	times[steps[1]] += reading
	kib = peak()
	one := firewall.MustPrefixes("0.1.2.0/25")
	if family == firewall.IPv6 {
		one = firewall.MustPrefixes("1999::/40")
	}
	other, err := sources(family, n, 2)
	if err != nil {
		return 0, err
	}
	for _, s := range []struct {
		step    string
		p       firewall.Prefixes
		changes bool
	}{{steps[2], first, false}, {steps[3], first.Union(one), true}, {steps[4], hundredth(first), true}, {steps[5], other, true}} {
		if err := take(s.step, s.p, s.changes); err != nil {
			return 0, err
		}
	}
	if err := b.Close(); err != nil {
		return 0, err
	}
	if b, err = nft.New(); err != nil { // a backend that remembers nothing
		return 0, err
	}
	r.Backend = b
	if err := take(steps[6], other, false); err != nil {
		return 0, err
	}
	return kib, take(steps[7], other, false)
}

// stored writes sources to a file, as a State is read at boot.
func stored(family firewall.Family, n int) (string, error) {
	p, err := sources(family, n, 1)
	if err != nil {
		return "", err
	}
	raw, err := p.AppendBinary(nil)
	if err != nil {
		return "", err
	}
	file := filepath.Join(os.TempDir(), fmt.Sprintf("portgrave-kernelonly-%d", os.Getpid()))
	return file, os.WriteFile(file, raw, 0o600)
}

// hundredth replaces every hundredth prefix by its first address.
func hundredth(p firewall.Prefixes) firewall.Prefixes {
	var b firewall.PrefixesBuilder
	i := 0
	for x := range p.All() {
		if i++; i%100 == 50 {
			x = netip.PrefixFrom(x.Addr(), x.Addr().BitLen())
		}
		_ = b.Add(x) // the prefixes of a set make a set
	}
	return b.Set()
}

// peak is the most memory that the process had resident, in KiB.
func peak() int {
	raw, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(raw)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib
		}
	}
	return 0
}
