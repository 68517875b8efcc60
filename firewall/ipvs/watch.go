package ipvs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// lookEvery is how often the services are read while an interface holds addresses for them:
// kube-proxy itself changes them at most once a second (--ipvs-min-sync-period).
const lookEvery = time.Second

// settle is how long Watch lets addresses come in before it looks: kube-proxy adds them one by one.
const settle = 20 * time.Millisecond

// Reader is Virtual, or stands in for it.
type Reader func() (list []firewall.VirtualService, held bool, err error)

// Watch sends what Virtual lists, first as it is now and then whenever it has changed. While no
// interface holds addresses for IPVS, it wakes up only when an address changes. A reading that
// fails is passed over: another one follows a second later, and so it goes on if nothing is heard
// of addresses any more. Watch ends with ctx, and then closes the channel.
func Watch(ctx context.Context, read Reader) (<-chan []firewall.VirtualService, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("listening for changes of addresses: %w", err)
	}
	for _, group := range []int{unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR} {
		if err := conn.Join(group); err != nil {
			return nil, errors.Join(
				fmt.Errorf("listening for changes of addresses: %w", err),
				conn.Close(),
			)
		}
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	changed := make(chan struct{}, 1)
	changed <- struct{}{} // so that it looks at once
	deaf := make(chan struct{})
	go func() {
		defer close(deaf)
		listen(ctx, conn, changed)
	}()
	out := make(chan []firewall.VirtualService)
	go func() {
		defer close(out)
		look(ctx, read, changed, deaf, out)
	}()
	return out, nil
}

// listen passes on that addresses have changed, not which.
func listen(ctx context.Context, conn *netlink.Conn, changed chan<- struct{}) {
	for ctx.Err() == nil {
		// then some were lost
		if _, err := conn.Receive(true); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// look reads after each change, and each second while there is something to read.
func look(
	ctx context.Context,
	read Reader,
	changed, deaf <-chan struct{},
	out chan<- []firewall.VirtualService,
) {
	var last []firewall.VirtualService
	var again <-chan time.Time
	first, hears := true, true
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-deaf:
			deaf, hears = nil, false
		case <-changed:
			time.Sleep(settle)
		}
		now, held, err := read()
		again = nil
		if held || err != nil || !hears {
			again = time.After(lookEvery)
		}
		if err != nil || slices.Equal(now, last) && !first {
			continue
		}
		select {
		case out <- now:
			last, first = now, false
		case <-ctx.Done():
			return
		}
	}
}
