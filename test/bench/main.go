// Command bench measures how long the backends take, side by side in one run, with peers that do the same:
// rules added one by one with go-iptables. It prints a table for the README; a machine's absolute times mean little,
// their ratios do. Everything happens in network namespaces of its own. Run it with make bench.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-iptables/iptables"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/nft"
	"github.com/portgrave/portgrave/firewall/xt"
	"golang.org/x/sys/unix"
)

// scenario is a State, and the same with one CIDR more.
type scenario struct {
	name        string
	state, next firewall.State
}

// contestant enforces a State in the namespace of the calling thread.
type contestant struct {
	name string
	open func() (firewall.Backend, error)
}

var contestants = []contestant{
	{"nftables", func() (firewall.Backend, error) { return nft.New() }},
	{"iptables-nft", func() (firewall.Backend, error) { return xt.New(context.Background(), xt.NFVariant) }},
	{"iptables-legacy", func() (firewall.Backend, error) { return xt.New(context.Background(), xt.Legacy) }},
}

// rounds is how often each time is taken; the median is shown.
const rounds = 3

// patience is how long a peer may take before the rest of its time is estimated from what it has done.
const patience = 20 * time.Second

func main() {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "bench: needs root for network namespaces: sudo make bench")
		os.Exit(4)
	}
	lock, err := os.MkdirTemp("", "portgrave-bench")
	if err == nil {
		defer func() { _ = os.RemoveAll(lock) }()
		err = os.Setenv("XTABLES_LOCKFILE", filepath.Join(lock, "xtables.lock"))
	}
	if err == nil {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	scenarios, err := scenarios()
	if err != nil {
		return err
	}
	var u unix.Utsname
	_ = unix.Uname(&u)
	fmt.Printf("%s, %d CPUs, Linux %s; medians of %d; each apply includes reading back.\n\n", time.Now().Format(time.DateOnly), runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), rounds)
	fmt.Println("| scenario | by | first apply | nothing to do | one CIDR more |\n|---|---|---:|---:|---:|")
	for _, s := range scenarios {
		for _, c := range contestants {
			times, err := measure(c, s)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", s.name, c.name, err)
			}
			fmt.Printf("| %s | %s | %s | %s | %s |\n", s.name, c.name, show(times[0]), show(times[1]), show(times[2]))
		}
		for _, program := range []string{"iptables-nft", "iptables-legacy"} {
			line, err := oneByOne(program, s.state)
			if err != nil {
				return fmt.Errorf("%s, go-iptables: %w", s.name, err)
			}
			fmt.Printf("| %s | go-iptables, rule by rule (%s) | %s | – | – |\n", s.name, program, line)
		}
	}
	return nil
}

func show(d time.Duration) string {
	if d < 100*time.Millisecond {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

func scenarios() ([]scenario, error) {
	port := func(n int) []firewall.PortRange {
		return []firewall.PortRange{{Protocol: firewall.TCP, First: uint16(n), Last: uint16(n)}}
	}
	state := func(services []firewall.Service) (firewall.State, error) {
		return firewall.State{Unlisted: firewall.UnlistedIgnore, Refuse: firewall.RefuseDrop, Established: firewall.EstablishedCut, Services: services}.Canonical()
	}
	prefixes := func(from, n int) firewall.Prefixes {
		list := make([]firewall.Prefix, n)
		for i := range list {
			x := (from + i) * 2 // never adjacent, so never merged
			list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + x>>16), byte(x >> 8), byte(x), 0}), 24)
		}
		p, err := firewall.NewPrefixes(list...)
		if err != nil {
			panic(err)
		}
		return p
	}
	var out []scenario
	for _, shape := range []struct {
		name              string
		services, sources int
	}{{"1 000 services × 10 sources", 1000, 10}, {"1 service × 100 000 sources", 1, 100_000}} {
		var services []firewall.Service
		for i := range shape.services {
			services = append(services, firewall.Service{Name: fmt.Sprintf("service-%d", i), Ports: port(1000 + i), Log: firewall.LogNone, Sources: prefixes(i*shape.sources, shape.sources)})
		}
		a, err := state(services)
		if err != nil {
			return nil, err
		}
		services = slices.Clone(services)
		services[0].Sources = services[0].Sources.Union(firewall.MustPrefixes("192.0.2.0/24"))
		b, err := state(services)
		if err != nil {
			return nil, err
		}
		out = append(out, scenario{shape.name, a, b})
	}
	return out, nil
}

// isolated runs f in a fresh network namespace, on a thread that is not used for anything else.
func isolated(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// measure takes the times of a first apply, of one with nothing to do, and of one CIDR more.
func measure(c contestant, s scenario) (median [3]time.Duration, err error) {
	var all [3][]time.Duration
	for range rounds {
		if err := isolated(func() error {
			b, err := c.open()
			if err != nil {
				return err
			}
			r := firewall.Reconciler{Backend: b, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
			for i, want := range []firewall.State{s.state, s.state, s.next} {
				start := time.Now()
				out, err := r.Apply(context.Background(), &want, false)
				if err != nil {
					return err
				}
				all[i] = append(all[i], time.Since(start))
				if out.Plan.InSync() != (i == 1) {
					return errors.New("it changed nothing where it should, or something where it should not")
				}
			}
			return nil
		}); err != nil {
			return median, err
		}
	}
	for i, times := range all {
		slices.Sort(times)
		median[i] = times[len(times)/2]
	}
	return median, nil
}

// oneByOne adds the State's allowlist as iptables rules, one program run each, and says how long it took, or how far it got.
func oneByOne(program string, s firewall.State) (line string, err error) {
	err = isolated(func() error {
		ipt, err := iptables.New(iptables.Path(program), iptables.Timeout(10))
		if err != nil {
			return err
		}
		total := 0
		for _, svc := range s.Services {
			total += svc.Sources.Len() + 1
		}
		start, added := time.Now(), 0
		for _, svc := range s.Services {
			dport := fmt.Sprint(svc.Ports[0].First)
			rules := make([][]string, 0, svc.Sources.Len()+1)
			for p := range svc.Sources.All() {
				rules = append(rules, []string{"-p", "tcp", "--dport", dport, "-s", p.String(), "-j", "ACCEPT"})
			}
			for _, rule := range append(rules, []string{"-p", "tcp", "--dport", dport, "-j", "DROP"}) {
				if took := time.Since(start); took > patience {
					line = fmt.Sprintf("%d of %s rules in %s", added, grouped(total), took.Round(time.Second))
					return nil
				}
				if err := ipt.Append("filter", "INPUT", rule...); err != nil {
					return err
				}
				added++
			}
		}
		line = fmt.Sprintf("%s (%s rules)", show(time.Since(start)), grouped(total))
		return nil
	})
	return line, err
}

// grouped writes 100000 as "100 000".
func grouped(n int) string {
	digits := fmt.Sprint(n)
	var groups []string
	for len(digits) > 3 {
		groups = append([]string{digits[len(digits)-3:]}, groups...)
		digits = digits[:len(digits)-3]
	}
	return strings.Join(append([]string{digits}, groups...), " ")
}
