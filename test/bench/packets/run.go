package packets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/portgrave/portgrave/test/bench/cidrs"
	"github.com/portgrave/portgrave/test/bench/report"
	"github.com/portgrave/portgrave/test/lab"
)

// Config is what to measure, and with what.
type Config struct {
	Portgrave string // the program
	Dir       string // a folder for lists and state
	Sizes     []int  // of lists, the longest last
	Pairs     int
	End       time.Time // afterwards a pair is enough
	Progress  func(format string, args ...any)
}

// flows is how many sources send, in turn.
const flows = 64

// Run measures, and says who was left out.
func Run(ctx context.Context, c Config) (results []report.Packet, missing []string, err error) {
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, []string{"the packet path, since nft, which builds the lab, is not installed"}, nil
	}
	lists := map[int]cidrs.Lists{}
	err = inWorld(func(bare *lab.World) error {
		for _, r := range all(c.Sizes) {
			if why := r.missing(); why != "" {
				missing = append(missing, why)
				continue
			}
			c.Progress("packets: %s, %s", r.by, r.traffic[0].what)
			size := max(r.size, 1000)
			if _, ok := lists[size]; !ok {
				lists[size] = cidrs.New(cidrs.IPv4, size)
			}
			rows, err := c.measure(ctx, bare, r, lists[size])
			if err != nil && r.ours {
				return fmt.Errorf("%s, %s: %w", r.by, r.traffic[0].what, err)
			} else if err != nil {
				missing = append(missing, fmt.Sprintf("packets through %s (%s), since it failed: %s", r.by, r.traffic[0].what, firstLine(err)))
			}
			results = append(results, rows...)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	return results, missing, err
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// missing says which program is not installed; "" if all are.
func (r rules) missing() string {
	for _, p := range r.needs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Sprintf("packets through %s, since %s is not installed", r.by, p)
		}
	}
	return ""
}

// inWorld runs f with a world whose host has no rules.
func inWorld(f func(*lab.World) error) error {
	var failed error
	err := lab.Run(io.Discard, func(t lab.TB) {
		w := lab.New(t)
		w.PinNeighbours()
		if failed = w.Host.Do(clear); failed == nil {
			failed = f(w)
		}
	})
	if failed != nil {
		return failed
	}
	return err
}

// measure loads rules in a world of their own and compares it with the bare one.
func (c Config) measure(ctx context.Context, bare *lab.World, r rules, list cidrs.Lists) (rows []report.Packet, err error) {
	dir, err := os.MkdirTemp(c.Dir, "packets")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	err = inWorld(func(ruled *lab.World) error {
		s := &site{ctx, dir, c.Portgrave, list}
		if err := ruled.Host.Do(func() error { return r.load(s) }); err != nil {
			return err
		}
		for _, t := range r.traffic {
			row, err := c.traffic(bare, ruled, t, sources(list.Initial))
			if err != nil {
				return fmt.Errorf("%s: %w", t.what, err)
			}
			row.By, row.What = r.by, t.what
			rows = append(rows, row)
		}
		if r.size == 0 {
			return nil
		}
		return refuses(ruled)
	})
	return rows, err
}

// sources are from the last hundredth of a list.
func sources(list []netip.Prefix) []netip.Addr {
	late := list[len(list)-max(len(list)/100, 1):]
	out := make([]netip.Addr, flows)
	for i := range out {
		out[i] = late[i*len(late)/flows].Addr()
	}
	return out
}

// traffic compares one kind of traffic.
func (c Config) traffic(bare, ruled *lab.World, t traffic, sources []netip.Addr) (report.Packet, error) {
	var paths [2]*path
	for i, w := range []*lab.World{bare, ruled} {
		receiver, to := w.Host, w.Host.Link("eth1").V4[0]
		if t.forwarded {
			receiver, to = w.Container, w.Container.Addr4()
		}
		p, err := newPath(w, receiver, netip.AddrPortFrom(to, t.port), sources)
		if err != nil {
			return report.Packet{}, err
		}
		defer p.Close()
		if err := p.answer(); err != nil {
			return report.Packet{}, err
		}
		paths[i] = p
	}
	r, err := compare(paths[0], paths[1], turns{c.Pairs, 40, 100}, c.End)
	return report.Packet{UDP: r.udp, TCP: r.tcp, BareUDP: r.bareUDP, BareTCP: r.bareTCP}, err
}

// refuses makes sure that the rules were in force: a source that no list has doesn't get in.
func refuses(w *lab.World) error {
	k, err := NewKnock(w, 9090, netip.MustParseAddr("192.0.2.250"))
	if err != nil {
		return err
	}
	defer k.Close()
	in, err := k.GetsIn()
	if err == nil && in {
		err = errors.New("the rules are not in force: who is not in the list gets in")
	}
	return err
}
