package xt

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/test/lab"
)

// previous is what the version before this one left for previousState: its tree stood in mangle
// PREROUTING, and refused packets bore a mark for tables filter and security.
func previous(t testing.TB, refuse firewall.Refuse, f address.Family) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("testdata/previous/%s-%s.rules", refuse, f))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func previousState(t testing.TB, refuse firewall.Refuse) firewall.State {
	svc := service(t, 0)
	svc.Ports = append(
		svc.Ports,
		firewall.PortRange{Protocol: firewall.TCP, First: 8080, Last: 8080},
	)
	svc.Rate = &firewall.Rate{Count: 100_000, Per: time.Second, Burst: 100_000}
	return backendtest.Canonical(
		t,
		firewall.State{
			Unlisted:    firewall.UnlistedDeny,
			Refuse:      refuse,
			Established: firewall.EstablishedCut,
			Essentials:  firewall.DefaultEssentials,
			Services:    []firewall.Service{svc},
		},
	)
}

// The first apply after an upgrade takes away what the previous version left. Meanwhile whom both
// let in gets in, and whom both refuse doesn't: at the host itself and at a published port.
func TestPreviousVersionIsReplaced(t *testing.T) {
	lab.RequireRoot(t)
	t.Setenv("XTABLES_LOCKFILE", t.TempDir()+"/lock")
	for _, v := range variants {
		for _, refuse := range []firewall.Refuse{firewall.RefuseDrop, firewall.RefuseReject} {
			t.Run(
				fmt.Sprintf("%s/%s", v, refuse),
				func(t *testing.T) { replacePrevious(t, v, refuse) },
			)
		}
	}
}

func replacePrevious(t *testing.T, v variant, refuse firewall.Refuse) {
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	w.Host.ListenTCP(9095)
	w.Container.ListenTCP(80)
	w.Publish("tcp", 8080, 80)
	inHost := func(f func() error) {
		t.Helper()
		if err := w.Host.Do(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range address.Families {
		cmd := w.Host.Command(
			context.Background(),
			program{v, f}.String()+"-restore",
			"--noflush",
			"--counters",
		)
		cmd.Stdin = strings.NewReader(previous(t, refuse, f))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	refused := lab.Dropped
	if refuse == firewall.RefuseReject {
		refused = lab.Refused
	}
	for _, six := range []bool{false, true} { // the control
		for _, port := range []uint16{9090, 8080} {
			to := w.Host.At(port, six)
			for _, of := range []struct {
				sources []netip.Addr
				want    lab.Answer
			}{{friend, lab.Open}, {foe, refused}} {
				for source, got := range w.Probe(w.Internet, family(of.sources, six), to) {
					if got != of.want {
						t.Fatalf(
							"under the previous rules %v is %v at %v, want %v",
							source,
							got,
							to,
							of.want,
						)
					}
				}
			}
		}
	}
	var friends, foes []*lab.Stream
	for _, six := range []bool{false, true} {
		for _, port := range []uint16{9090, 8080} {
			friends = append(
				friends,
				w.Stream(w.Internet, family(friend, six), w.Host.At(port, six), lab.Rate(2000)),
			)
		}
		for _, port := range []uint16{9090, 8080, 9095} {
			foes = append(
				foes,
				w.Stream(w.Internet, family(foe, six), w.Host.At(port, six), lab.Rate(2000)),
			)
		}
	}
	streams := append(friends, foes...)
	for _, s := range streams {
		s.WaitRounds(20)
	}
	state := previousState(t, refuse)
	inHost(func() error {
		b, err := New(context.Background(), string(v))
		if err != nil {
			return err
		}
		if p, seen, err := backendtest.Reconciler(b).Plan(
			context.Background(), &state,
		); err != nil ||
			p.InSync() ||
			seen.Foreign() != "" {
			return fmt.Errorf("in sync: %v, foreign: %q: %w", p.InSync(), seen.Foreign(), err)
		}
		if _, err := backendtest.Reconciler(b).Apply(
			context.Background(), &state, false,
		); err != nil {
			return err
		}
		p, _, err := backendtest.Reconciler(b).Plan(context.Background(), &state)
		if err == nil && !p.InSync() {
			err = fmt.Errorf("after the apply there is still to do:\n%s", backendtest.Changes(p))
		}
		return err
	})
	for _, s := range streams {
		s.WaitRounds(20)
	}
	for _, s := range friends {
		if r := s.Stop(); r.Refused > 0 || r.Unanswered > 0 && r.Lost == 0 || r.Open < 20 {
			t.Errorf("an allowed source was refused: %+v", r)
		}
	}
	for _, s := range foes {
		if r := s.Stop(); r.Open > 0 || r.Sent < 20 {
			t.Errorf("a refused source got in: %+v", r)
		}
	}
	for _, f := range address.Families {
		for _, line := range strings.Split(w.Host.Run(program{v, f}.String()+"-save"), "\n") {
			if strings.Contains(line, "mark 0x") ||
				strings.HasPrefix(line, "-A PREROUTING") &&
					!strings.HasSuffix(line, "-j "+labelChain) &&
					strings.Contains(line, baseChain) {
				t.Errorf("%s is left", line)
			}
		}
	}
	inHost(func() error {
		b, err := New(context.Background(), string(v))
		if err == nil {
			_, err = backendtest.Reconciler(b).Apply(context.Background(), nil, false)
		}
		return err
	})
	for _, f := range address.Families {
		if left := w.Host.Run(program{v, f}.String() + "-save"); strings.Contains(left, baseChain) {
			t.Errorf("teardown left %s", left)
		}
	}
}
