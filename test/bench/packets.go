package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/portgrave/portgrave/test/lab"
)

// senders is how many sources send, in turn.
const senders = 64

// packets measures the packet path.
func (b *bench) packets(ctx context.Context) error {
	if uninstalled([]string{"nft"}) != "" {
		b.leaveOut("the packet path, since nft, which builds the lab, is not installed")
		return nil
	}
	var sizes []int
	for _, s := range b.sizes {
		sizes = append(sizes, s.Prefixes)
	}
	lists := map[int]Lists{}
	return inBareWorld(func(bare *lab.World) error {
		for _, r := range allRules(sizes) {
			if name := uninstalled(r.needs); name != "" {
				b.leaveOut(fmt.Sprintf("packets through %s, since %s is not installed", r.by, name))
				continue
			}
			what := r.traffic[0].what
			b.progress("packets: %s, %s", r.by, what)
			size := max(r.size, 1000)
			if _, ok := lists[size]; !ok {
				lists[size] = NewLists(IPv4, size)
			}
			rows, err := b.measureRules(ctx, bare, r, lists[size])
			if err != nil && r.ours {
				return fmt.Errorf("%s, %s: %w", r.by, what, err)
			} else if err != nil {
				line, _, _ := strings.Cut(err.Error(), "\n")
				b.leaveOut(fmt.Sprintf(
					"packets through %s (%s), since it failed: %s", r.by, what, line,
				))
			}
			b.report.Packets = append(b.report.Packets, rows...)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
}

// inBareWorld runs f with a world whose host has no rules.
func inBareWorld(f func(*lab.World) error) error {
	return inWorld(func(w *lab.World) error {
		if err := w.Host.Do(dropRules); err != nil {
			return err
		}
		return f(w)
	})
}

// measureRules loads rules in a world of their own and compares it with the bare one.
func (b *bench) measureRules(
	ctx context.Context,
	bare *lab.World,
	r rules,
	list Lists,
) (rows []PacketRow, err error) {
	dir, err := os.MkdirTemp(b.dir, "packets")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	err = inBareWorld(func(ruled *lab.World) error {
		s := &site{ctx, dir, b.portgrave, list}
		if err := ruled.Host.Do(func() error { return r.load(s) }); err != nil {
			return err
		}
		for _, t := range r.traffic {
			row, err := b.measureTraffic(bare, ruled, t, lateSources(list.Initial))
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

// lateSources are from the last hundredth of a list.
func lateSources(list []netip.Prefix) []netip.Addr {
	late := list[len(list)-max(len(list)/100, 1):]
	out := make([]netip.Addr, senders)
	for i := range out {
		out[i] = late[i*len(late)/senders].Addr()
	}
	return out
}

// measureTraffic compares one kind of traffic in two worlds.
func (b *bench) measureTraffic(
	bare, ruled *lab.World,
	t traffic,
	sources []netip.Addr,
) (PacketRow, error) {
	var paths [2]*path
	for i, w := range []*lab.World{bare, ruled} {
		receiver, to := w.Host, w.Host.Link("eth1").V4[0]
		if t.forwarded {
			receiver, to = w.Container, w.Container.Addr4()
		}
		p, err := newPath(w, receiver, netip.AddrPortFrom(to, t.port), sources)
		if err != nil {
			return PacketRow{}, err
		}
		defer p.Close()
		if err := p.answer(); err != nil {
			return PacketRow{}, err
		}
		paths[i] = p
	}
	return compare(paths[0], paths[1], turns{b.pairs, 40, 100}, b.end)
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
