package ipvs

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/backendtest"
)

// text is as Linux 6.12 writes it.
const text = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
UDP  [fd00:0096:0000:0000:0000:0000:0000:000a]:0035 rr
  -> [fd00:0017:0000:0000:0000:0000:0000:0002]:0050      Masq    1      0          0
TCP  0A600001:01BB rr  persistent 10800
  -> AC110003:192B      Masq    1      2          0
  -> AC110002:192B      Masq    1      0          1
TCP  0A600001:0000 rr persistent 300 FFFFFFFF
  -> AC110002:0000      Route   1      0          0
FWM  00000001 rr
  -> AC110002:0050      Masq    1      0          0
SCTP C0000201:0B59 wlc
`

func TestParse(t *testing.T) {
	got, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort
	want := []Service{
		{firewall.VirtualService{Protocol: firewall.TCP, At: at("10.96.0.1:443")},
			[]netip.AddrPort{at("172.17.0.3:6443"), at("172.17.0.2:6443")}},
		{firewall.VirtualService{Protocol: firewall.SCTP, At: at("192.0.2.1:2905")}, nil},
		{
			firewall.VirtualService{Protocol: firewall.UDP, At: at("[fd00:96::a]:53")},
			[]netip.AddrPort{at("[fd00:17::2]:80")},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	head, _, _ := strings.Cut(text, "UDP")
	for _, bad := range []string{"TCP  0A6000:01BB rr", "TCP  0A600001 rr", "TCP  [10.96.0.1]:01BB rr",
		"UDP  [fe80::1%eth0]:0035 rr", "TCP  0A600001:1BBBB rr", "TCP  0A600001:01BB rr\n  -> nowhere"} {
		if got, err := Parse(strings.NewReader(head + bad + "\n")); err == nil {
			t.Errorf("%q was taken for %v", bad, got)
		}
	}
}

// Whatever the file holds, what is read are services that a State can have.
func FuzzParse(f *testing.F) {
	f.Add(text)
	f.Fuzz(func(t *testing.T, s string) {
		list, err := Parse(strings.NewReader(s))
		if err != nil {
			return
		}
		state := firewall.State{
			Unlisted:    firewall.UnlistedDeny,
			Refuse:      firewall.RefuseDrop,
			Established: firewall.EstablishedCut,
		}
		for _, x := range list {
			state.Virtual = append(state.Virtual, x.VirtualService)
		}
		if _, err := state.Canonical(); err != nil {
			t.Error(err)
		}
	})
}

// A host without IPVS has no services, and of an interface that holds addresses for it only those
// count.
func TestVirtualOfTheHost(t *testing.T) {
	backendtest.Isolate(t)
	if list, held, err := Virtual(); len(list) > 0 || held || err != nil {
		t.Errorf("a bare host: %v, %v, %v", list, held, err)
	}
	for _, args := range []string{
		"link add kube-ipvs0 type bridge", "link set kube-ipvs0 up",
		"address add 10.96.0.1/32 dev kube-ipvs0",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	if list, held, err := Virtual(); len(list) > 0 || !held || err != nil { // nothing is served
		t.Errorf("with an address: %v, %v, %v", list, held, err)
	}
	found, err := heldAddresses(t.Context())
	if err != nil || !found[netip.MustParseAddr("10.96.0.1")] ||
		found[netip.MustParseAddr("127.0.0.1")] {
		t.Errorf("addresses: %v, %v", found, err)
	}
}

// Watch sends what there is, then every change, passes over readings that fail, and sleeps while no
// address is held, until an address changes.
func TestWatch(t *testing.T) {
	backendtest.Isolate(t)
	type answer struct {
		list []firewall.VirtualService
		held bool
		err  error
	}
	var now atomic.Pointer[answer]
	var reads atomic.Int64
	now.Store(&answer{})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	changes, err := Watch(ctx, func() ([]firewall.VirtualService, bool, error) {
		reads.Add(1)
		a := now.Load()
		return a.list, a.held, a.err
	})
	if err != nil {
		t.Fatal(err)
	}
	next := func(what string, want []firewall.VirtualService) {
		t.Helper()
		select {
		case got := <-changes:
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: nothing comes", what)
		}
	}
	one := []firewall.VirtualService{
		{Protocol: firewall.TCP, At: netip.MustParseAddrPort("10.96.0.1:443")},
	}
	next("at first", nil)
	now.Store(&answer{one, true, nil})
	if out, err := exec.Command(
		"ip", "address", "add", "10.96.0.1/32", "dev", "lo",
	).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	next("an address has come", one)
	now.Store(&answer{nil, true, errors.New("injected")})
	for before := reads.Load(); reads.Load() < before+2; {
		time.Sleep(time.Millisecond)
	}
	now.Store(&answer{nil, false, nil})
	next("nothing is held any more", nil)
	before := reads.Load()
	time.Sleep(2 * lookEvery) // that nothing wakes it up can only be waited for
	if got := reads.Load(); got != before {
		t.Errorf("%d readings while nothing is held", got-before)
	}
	stop()
	if _, open := <-changes; open {
		t.Error("it goes on after its end")
	}
}
