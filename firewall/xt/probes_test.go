package xt

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/test/lab"
)

// The two sources that every State of these tests agrees about.
var (
	friend = []netip.Addr{netip.MustParseAddr("192.88.99.1"), netip.MustParseAddr("2001:db8:f::1")}
	foe    = []netip.Addr{netip.MustParseAddr("192.88.98.1"), netip.MustParseAddr("2001:db8:e::1")}
)

func family(list []netip.Addr, six bool) []netip.Addr {
	if six {
		return list[1:]
	}
	return list[:1]
}

// service is one on port 9090 that lets friends in, and n more prefixes.
func service(t testing.TB, n int, interfaces ...string) firewall.Service {
	sources := address.Must("192.88.99.0/24", "2001:db8:f::/48")
	if n > 0 {
		sources = sources.Union(backendtest.Many(t, n)).Union(address.Must("2001:db8:1000::/52"))
		for i := range 20 {
			sources = sources.Union(address.Must(fmt.Sprintf("2001:db8:2000:%x::/64", 2*i)))
		}
	}
	return firewall.Service{
		Name:       "guarded",
		Ports:      []firewall.PortRange{{Protocol: firewall.TCP, First: 9090, Last: 9090}},
		Sources:    sources,
		Interfaces: interfaces,
		Log:        firewall.LogDenied,
	}
}

func stateOf(t testing.TB, refuse firewall.Refuse, services ...firewall.Service) firewall.State {
	return backendtest.Canonical(
		t,
		firewall.State{
			Unlisted:    firewall.UnlistedIgnore,
			Refuse:      refuse,
			Established: firewall.EstablishedCut,
			Services:    services,
		},
	)
}

// failing is a kernel whose nth step fails: refused, or done and yet reported as failed.
type failing struct {
	kernel
	at, steps int
	done      bool
}

func (k *failing) run(ctx context.Context, s step) error {
	k.steps++
	if k.steps != k.at {
		return k.kernel.run(ctx, s)
	}
	if k.done {
		if err := k.kernel.run(ctx, s); err != nil {
			return err
		}
	}
	return errInjected
}

// With a fault at every step of every kind of change, while packets keep coming: a source that both
// States allow is never refused, and one that both refuse never gets in.
func TestNoGapAndNoOpeningAtAnyFault(t *testing.T) {
	lab.RequireRoot(t)
	t.Setenv("XTABLES_LOCKFILE", t.TempDir()+"/lock")
	other := firewall.Service{
		Name:  "other",
		Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 9091, Last: 9091}},
		Log:   firewall.LogNone,
	}
	changes := []struct {
		name   string
		before firewall.State
		after  firewall.State
	}{
		{
			"rules to sets",
			stateOf(t, firewall.RefuseDrop, service(t, 0)),
			stateOf(t, firewall.RefuseDrop, service(t, 2000)),
		},
		{
			"a set replaced",
			stateOf(t, firewall.RefuseDrop, service(t, 2000)),
			stateOf(t, firewall.RefuseDrop, service(t, 1000)),
		},
		{
			"a few elements",
			stateOf(t, firewall.RefuseDrop, service(t, 2000)),
			stateOf(t, firewall.RefuseDrop, service(t, 1990)),
		},
		{
			"rules and sets at once",
			stateOf(t, firewall.RefuseDrop, service(t, 2000)),
			stateOf(t, firewall.RefuseDrop, service(t, 1000, "eth*"), other),
		},
		{
			"drop to reject",
			stateOf(t, firewall.RefuseDrop, service(t, 100)),
			stateOf(t, firewall.RefuseReject, service(t, 200)),
		},
		{
			"reject to drop",
			stateOf(t, firewall.RefuseReject, service(t, 100)),
			stateOf(t, firewall.RefuseDrop, service(t, 200)),
		},
	}
	for _, v := range variants {
		t.Run(string(v), func(t *testing.T) {
			w := lab.New(t)
			w.Host.ListenTCP(9090)
			var real *Backend
			apply := func(k kernel, s *firewall.State) error {
				return w.Host.Do(func() error {
					_, err := backendtest.Reconciler(withKernel(k)).
						Apply(context.Background(), s, false)
					return err
				})
			}
			if err := w.Host.Do(func() error {
				var err error
				real, err = New(context.Background(), string(v))
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if err := apply(real.kernel, &changes[0].before); err != nil {
				t.Fatal(err)
			}
			var friends, foes []*lab.Stream
			for _, six := range []bool{false, true} {
				friends = append(
					friends,
					w.Stream(w.Internet, family(friend, six), w.Host.At(9090, six), lab.Rate(3000)),
				)
				foes = append(
					foes,
					w.Stream(w.Internet, family(foe, six), w.Host.At(9090, six), lab.Rate(3000)),
				)
			}
			faults := 0
			for _, c := range changes {
				for at, more := 1, true; more; at++ {
					for _, done := range []bool{false, true} {
						if err := apply(real.kernel, &c.before); err != nil {
							t.Fatalf("%s: %v", c.name, err)
						}
						k := &failing{kernel: real.kernel, at: at, done: done}
						err := apply(k, &c.after)
						more = k.steps >= at
						if !more {
							break
						}
						faults++
						if err == nil && !done {
							t.Errorf("%s: a fault of step %d was not reported", c.name, at)
						}
						if err != nil && !strings.Contains(err.Error(), errInjected.Error()) {
							t.Errorf("%s, step %d: %v", c.name, at, err)
						}
					}
				}
			}
			for _, s := range append(friends, foes...) {
				s.WaitRounds(50)
			}
			for i, s := range friends {
				r := s.Stop()
				t.Logf(
					"%d faults; allowed source %s: %d probes, %d open, longest gap %v, %d lost frames",
					faults,
					friend[i],
					r.Sent,
					r.Open,
					r.LongestGap,
					r.Lost,
				)
				if r.Refused > 0 || r.Unanswered > 0 && r.Lost == 0 || r.Open < 1000 {
					t.Errorf("an allowed source was refused: %+v", r)
				}
			}
			for i, s := range foes {
				r := s.Stop()
				t.Logf(
					"%d faults; refused source %s: %d probes, %d open",
					faults,
					foe[i],
					r.Sent,
					r.Open,
				)
				if r.Open > 0 || r.Sent < 1000 {
					t.Errorf("a refused source got in: %+v", r)
				}
			}
		})
	}
}

// Under refuse: reject the refusal is given in table filter, where others stand too. Whatever they
// do there, or to the mark, a refused source stays out; it only hears no answer.
func TestRefusedStaysOutWhateverOthersDo(t *testing.T) {
	lab.RequireRoot(t)
	t.Setenv("XTABLES_LOCKFILE", t.TempDir()+"/lock")
	for _, v := range variants {
		t.Run(string(v), func(t *testing.T) {
			w := lab.New(t)
			w.Host.ListenTCP(9090)
			w.Container.ListenTCP(80)
			w.Publish("tcp", 8080, 80)
			svc := service(t, 0)
			svc.Ports = append(
				svc.Ports,
				firewall.PortRange{Protocol: firewall.TCP, First: 8080, Last: 8080},
			)
			state := stateOf(t, firewall.RefuseReject, svc)
			check := func(want lab.Answer, what string) {
				t.Helper()
				for _, six := range []bool{false, true} {
					for _, port := range []uint16{9090, 8080} {
						to := w.Host.At(port, six)
						for source, answer := range w.Probe(w.Internet, family(foe, six), to) {
							if answer != want {
								t.Errorf(
									"%s: from %s to %s: %s, want %s",
									what,
									source,
									to,
									answer,
									want,
								)
							}
						}
						for source, answer := range w.Probe(w.Internet, family(friend, six), to) {
							if answer != lab.Open {
								t.Errorf(
									"%s: from %s to %s: %s, want open",
									what,
									source,
									to,
									answer,
								)
							}
						}
					}
				}
			}
			for _, tt := range []struct {
				name, script string
				want         lab.Answer
			}{
				{"nothing", "true", lab.Refused},
				{"filter flushed", "iptables -F; ip6tables -F", lab.Dropped},
				{"accepted before us", "for i in iptables ip6tables; do $i -I INPUT -j ACCEPT; $i -I FORWARD -j ACCEPT; done", lab.Dropped},
				{"mark overwritten behind us", "for i in iptables ip6tables; do $i -t mangle -A PREROUTING -j MARK --set-mark 0; $i -t mangle -A PREROUTING -j CONNMARK --restore-mark; done", lab.Refused},
				{"a policy of drop", "for i in iptables ip6tables; do $i -P INPUT DROP; $i -P FORWARD DROP; $i -A INPUT -p tcp --dport 9090 -j ACCEPT; $i -A FORWARD -j ACCEPT; $i -A INPUT -p ipv6-icmp -j ACCEPT; done", lab.Refused},
			} {
				if err := w.Host.Do(func() error {
					b, err := New(context.Background(), string(v))
					if err != nil {
						return err
					}
					_, err = backendtest.Reconciler(b).Apply(context.Background(), &state, false)
					return err
				}); err != nil {
					t.Fatalf("%s: %v", tt.name, err)
				}
				check(lab.Refused, "before "+tt.name)
				w.Host.Run("sh", "-ec", variantNames(v, tt.script))
				check(tt.want, tt.name)
			}
		})
	}
}
