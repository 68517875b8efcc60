package xt

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/test/lab"
)

// The kernel's tables are counted as sources fill them. IPv6 addresses of one /64 are one source.
func TestFill(t *testing.T) {
	lab.RequireRoot(t)
	t.Setenv("XTABLES_LOCKFILE", t.TempDir()+"/lock")
	for _, v := range variants {
		t.Run(string(v), func(t *testing.T) {
			w := lab.New(t)
			w.Host.ListenTCP(9090)
			limited := service(t, 0)
			limited.Name = "a-1"
			limited.Rate = &firewall.Rate{Count: 1, Per: time.Minute, Burst: 30}
			other := firewall.Service{
				Name:  "a",
				Log:   firewall.LogNone,
				Rate:  limited.Rate,
				Ports: []firewall.PortRange{{Protocol: firewall.TCP, First: 9091, Last: 9091}},
			}
			state := stateOf(t, firewall.RefuseDrop, limited, other)
			var got []firewall.TableFill
			inHost := func(f func(*Backend) error) {
				t.Helper()
				if err := w.Host.Do(func() error {
					b, err := New(context.Background(), string(v))
					if err == nil {
						err = f(b)
					}
					return err
				}); err != nil {
					t.Fatal(err)
				}
			}
			inHost(func(b *Backend) error {
				_, err := backendtest.Reconciler(b).Apply(context.Background(), &state, false)
				return err
			})
			var six []string
			for i := range 5 {
				six = append(six, fmt.Sprintf("2001:db8:f::%x", i+1))
			}
			w.Probe(
				w.Internet,
				addresses("192.88.99.1", "192.88.99.2", "192.88.98.1"),
				w.Host.At(9090, false),
			)
			w.Probe(
				w.Internet,
				addresses(append(six, "2001:db8:f:1::1", "2001:db8:e::1")...),
				w.Host.At(9090, true),
			)
			inHost(func(b *Backend) (err error) {
				got, err = b.Fill(context.Background(), []string{"a", "a-1"})
				return err
			})
			rates, logs := firewall.RateMemorySize, firewall.LogMemorySize
			want := []firewall.TableFill{
				{Service: "a", Family: address.IPv4, Room: rates},
				{Service: "a-1", Family: address.IPv4, Sources: 2, Room: rates},
				{Family: address.IPv4, Sources: 1, Room: logs},
				{
					Service: "a",
					Family:  address.IPv6,
					Room:    rates,
				},
				{Service: "a-1", Family: address.IPv6, Sources: 2, Room: rates},
				{Family: address.IPv6, Sources: 1, Room: logs},
			}
			key := func(f firewall.TableFill) string { return f.Service + f.Family.String() }
			byKey := func(list []firewall.TableFill) map[string]firewall.TableFill {
				out := map[string]firewall.TableFill{}
				for _, f := range list {
					out[key(f)] = f
				}
				return out
			}
			if d := cmp.Diff(byKey(want), byKey(got)); d != "" || len(got) != len(want) {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func addresses(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}
