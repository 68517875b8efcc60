package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/test/lab"
)

// Whatever shape many sources take in the kernel, audit reads in them just what the policy allows:
// nothing is uncertain, nothing wider, nothing missing.
func TestAuditUnderstandsManySources(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	w.Host.ListenTCP(9091)
	i := install(
		t,
		w,
		"version: 1\nnetworks:\n  some: {file: some.txt}\n  many: {file: many.txt}\nservices:\n"+
			"  - {name: some, port: 9090, allow: [some, 203.0.113.0/24], log: all}\n  - {name: many, port: 9091, allow: [many, 20.0.0.0/7, 0.1.0.0/16]}\n",
	)
	for name, n := range map[string]int{"some.txt": 6000, "many.txt": 150_000} {
		var b strings.Builder
		for k := range n { // of 16 lengths, in the lower half of the addresses
			length := 17 + k%16
			first := uint64(1<<30) + uint64(k)*(1<<31/uint64(n))
			fmt.Fprintln(&b, netip.PrefixFrom(address.V4(first).IP(), length).Masked())
			if k%4 == 0 {
				fmt.Fprintln(
					&b,
					netip.PrefixFrom(address.V6{Hi: 0x2000<<48 | first<<28}.IP(), length+19).
						Masked(),
				)
			}
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(i.policy), name), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i.verb("apply", "--reason", "test")
	found := 0
	for _, x := range i.audit().Exposures {
		if x.Interface != "eth0" || x.Port < 9090 {
			continue
		}
		found++
		if !x.Reachable.Certain.Equal(x.Reachable.Possible) {
			t.Errorf(
				"port %d: certain %d, possible %d prefixes: %v",
				x.Port,
				x.Reachable.Certain.Len(),
				x.Reachable.Possible.Len(),
				x.DecidedBy,
			)
		}
		if less, more := x.Allowed.Minus(x.Reachable.Possible).Minus(elsewhere), x.Reachable.Possible.Minus(x.Allowed); x.Finding != "ok" ||
			less.Len()+more.Len() > 0 {
			t.Errorf(
				"port %d: finding %s; %d prefixes are missing, %d too many; decided by %v",
				x.Port,
				x.Finding,
				less.Len(),
				more.Len(),
				x.DecidedBy,
			)
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 ports on eth0", found)
	}
}

// While many sources are replaced, by others that are held in the same shape, in another, or cut
// into other prefixes, the source that is allowed throughout meets no gap and the one that never is
// no opening. PORTGRAVE_MANY is how many there are at most, for a run by hand with a million.
func TestReplacingLargePartsShowsNoGap(t *testing.T) {
	lab.RequireRoot(t)
	most := 150_000
	if s := os.Getenv("PORTGRAVE_MANY"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		most = n
	}
	state := func(n int, first uint64, own ...string) firewall.State {
		var b address.Builder
		for k := range n {
			a := address.V4(first + uint64(k)*(1<<31/uint64(n))&^0xff)
			for _, p := range []netip.Prefix{netip.PrefixFrom(a.IP(), 24+k%8), netip.PrefixFrom(address.V6{Hi: 0x2100<<48 | uint64(a)<<24}.IP(), 48)} {
				if err := b.Add(p); err != nil {
					t.Fatal(err)
				}
			}
		}
		s, err := firewall.State{
			Unlisted:    firewall.UnlistedIgnore,
			Refuse:      firewall.RefuseDrop,
			Established: firewall.EstablishedCut,
			Services: []firewall.Service{
				{Name: "big", Sources: b.Set().Union(address.Must(own...)), Log: firewall.LogNone,
					Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 9090, Last: 9090}}},
			},
		}.Canonical()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	host4, host6 := office4.String()+"/32", office6.String()+"/128"
	states := []firewall.State{
		state(6000, 1<<30, host4, host6),
		state(
			6000,
			1<<30,
			office4.String()+"/31",
			"fd00:20:0:0::1:0/112",
		), // the source moves to a set of another length
		state(
			6000,
			1<<30+1<<10,
			host4,
			host6,
		), // and back, while every other one is replaced
		state(most, 1<<30, host4, host6),
		state(most, 1<<30, "10.20.0.0/23", "fd00:20::/64"),
		state(most, 1<<30+1<<7, "10.16.0.0/12", host6),
		state(10, 1<<30, host4, host6),
		state(6000, 1<<30, host4, host6),
	}
	w := newWorld(t, engines[0])
	w.serve(9090)
	w.applyState(&states[0])
	for _, s := range states {
		svc := s.Services[0]
		if !svc.Sources.Contains(office4) || !svc.Sources.Contains(office6) ||
			svc.Sources.Contains(barred6) {
			t.Fatalf("the States are not about the probed sources: %d", svc.Sources.Len())
		}
	}
	allowed4 := w.Stream(
		w.Office,
		[]netip.Addr{office4},
		netip.AddrPortFrom(inside4, 9090),
		lab.Rate(2000),
	)
	allowed6 := w.Stream(
		w.Office,
		[]netip.Addr{office6},
		netip.AddrPortFrom(inside6, 9090),
		lab.Rate(2000),
	)
	refused := w.Stream(
		w.Office,
		[]netip.Addr{barred6},
		netip.AddrPortFrom(inside6, 9090),
		lab.Rate(2000),
	)
	allowed4.WaitRounds(50)
	for i := range states[1:] {
		w.applyState(&states[i+1])
	}
	allowed4.WaitRounds(50)
	sent := 0
	for _, r := range []lab.Report{allowed4.Stop(), allowed6.Stop()} {
		sent += r.Sent
		if shut := r.Refused + max(0, r.Unanswered-r.Lost); shut != 0 || r.Open < 500 {
			t.Errorf(
				"the allowed source: %d of %d probes found the port shut, %d open",
				shut,
				r.Sent,
				r.Open,
			)
		}
	}
	if r := refused.Stop(); r.Open != 0 || r.Sent < 500 {
		t.Errorf("the refused source: %d of %d probes got in", r.Open, r.Sent)
	}
	seen := w.traffic("big")
	if n := seen.Refused[address.IPv4].Packets; n != 0 {
		t.Errorf("%d packets of the allowed source were refused", n)
	}
	t.Logf(
		"%d probes of allowed sources while up to %d sources were replaced %d times",
		sent,
		most,
		len(states)-1,
	)
}
