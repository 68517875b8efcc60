package hostview

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// Read reads the host as it is now, in the network namespace of the calling thread.
func Read(ctx context.Context) (*exposure.Host, error) {
	from := netlink.NewPool(netlink.Dial)
	defer func() { _ = from.Close() }()
	return ReadHost(ctx, from, os.DirFS("/proc/sys"))
}

// ReadHost reads the host through rtnetlink and a view of /proc/sys. Sysctls that aren't there have
// the value that their kernel behaves by: without net/ipv6 IPv6 is disabled on every interface.
func ReadHost(
	ctx context.Context,
	from netlink.Source,
	sysctls fs.FS,
) (h *exposure.Host, err error) {
	h = &exposure.Host{}
	links := func(m netlink.Message) (exposure.Interface, bool, error) { return link(h, m) }
	if h.Interfaces, err = read(ctx, from, "interfaces", unix.RTM_GETLINK, unix.SizeofIfInfomsg, links); err != nil {
		return nil, err
	}
	addresses, err := read(
		ctx,
		from,
		"addresses",
		unix.RTM_GETADDR,
		unix.SizeofIfAddrmsg,
		parseAddress,
	)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if i := h.ByIndex(a.index); i != nil {
			i.Addresses = append(i.Addresses, a.prefix)
			if a.tentative {
				i.Tentative = append(i.Tentative, a.prefix.Addr())
			}
			if a.hostScope && a.prefix.Addr().Is4() {
				i.HostScope = append(i.HostScope, a.prefix.Addr())
			}
		}
	}
	if h.Routes, err = read(ctx, from, "routes", unix.RTM_GETROUTE, unix.SizeofRtMsg, route); err != nil {
		return nil, err
	}
	h.Rules, err = read(ctx, from, "routing rules", unix.RTM_GETRULE, sizeofRuleHeader, rule)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // a kernel without policy routing
		return nil, err
	}
	sortRules(h)
	if err := readSysctls(h, sysctls); err != nil {
		return nil, err
	}
	return h, nil
}

// read dumps all objects of a kind, whose fixed header has a size.
func read[T any](
	ctx context.Context,
	from netlink.Source,
	what string,
	kind uint16,
	size int,
	parse func(netlink.Message) (T, bool, error),
) ([]T, error) {
	r := netlink.Request{Kind: kind, Header: make([]byte, size)} // family 0: all
	list, err := netlink.Table(ctx, from, unix.NETLINK_ROUTE, r, parse)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return list, nil
}
