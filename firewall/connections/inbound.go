package connections

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/netlink/inetdiag"
	"golang.org/x/sys/unix"
)

// found is a connection that a client opened, with what it takes to end it.
type found struct {
	firewall.Connection
	socket *inetdiag.Socket // of a local one
	flow   *flow            // of a forwarded one
}

// peers names a socket among those with a peer.
type peers struct {
	protocol      firewall.Protocol
	remote, local netip.AddrPort
}

// inbound picks the connections that clients opened, out of everything that is connected or
// tracked. It is pure; local says whether an address is one of the host's. Interfaces are left
// empty.
//
//	conntrack says                            it is inbound
//	a client sent the first packet            yes
//	this host sent the first packet           no
//	it was met in the middle, or no entry     if a socket waits for peers on the local port
//	this host sent the first packet, from a   perhaps: FromHost
//	port where a socket waits, without one
//	that is connected to the peer
func inbound(
	connectedTo, listening []inetdiag.Socket,
	tracked []flow,
	local func(netip.Addr) bool,
) []found {
	var out []found
	toHere, fromHere := map[peers]*flow{}, map[peers]*flow{}
	for i := range tracked {
		f := &tracked[i]
		switch {
		case local(f.orig.src.Addr()):
			// The socket sees what it dialled itself, not what that was translated to.
			fromHere[peers{f.protocol, f.orig.dst, f.orig.src}] = f
		case !local(f.orig.dst.Addr()):
			// Routed through, or to a broadcast or multicast address: no connection of ours.
		case local(f.reply.src.Addr()):
			// The socket sees the translated side: REDIRECT changes its port, SNAT on input its
			// peer.
			toHere[peers{f.protocol, f.reply.dst, f.reply.src}] = f
		case f.state != ctTimeWait || f.protocol != firewall.TCP:
			out = append(out, found{flow: f, Connection: firewall.Connection{
				Protocol: f.protocol, Client: f.orig.src, Dialled: f.orig.dst, Forwarded: true}})
		}
	}
	waiting := map[uint16][]inetdiag.Socket{}
	for _, l := range listening {
		waiting[l.Local.Port()] = append(waiting[l.Local.Port()], l)
	}
	for i := range connectedTo {
		s := &connectedTo[i]
		if local(s.Remote.Addr()) {
			continue // loopback, or this host's own address: never filtered
		}
		at := peers{s.Protocol, s.Remote, s.Local}
		c := firewall.Connection{Protocol: s.Protocol, Client: s.Remote, Dialled: s.Local}
		entry, byClient := toHere[at]
		accepts := func(l inetdiag.Socket) bool { return acceptsFor(l, *s) }
		opened := fromHere[at]
		switch {
		case byClient && !entry.pickedUp:
		case !byClient && opened != nil && !opened.pickedUp:
			continue
		case !slices.ContainsFunc(waiting[s.Local.Port()], accepts):
			continue
		}
		if byClient {
			c.Client, c.Dialled = entry.orig.src, entry.orig.dst
		}
		out = append(out, found{Connection: c, socket: s})
	}
	for at, f := range fromHere {
		// No socket is connected there, so this is what a server sends that serves everybody, or
		// was forged.
		waits := func(l inetdiag.Socket) bool {
			own := inetdiag.Socket{Protocol: at.protocol, Family: l.Family, Local: at.local}
			return acceptsFor(l, own) && (l.Family == unix.AF_INET6 || at.local.Addr().Is4())
		}
		connected := func(s inetdiag.Socket) bool {
			return at == peers{s.Protocol, s.Remote, s.Local}
		}
		if slices.ContainsFunc(waiting[at.local.Port()], waits) &&
			!slices.ContainsFunc(connectedTo, connected) {
			out = append(out, found{flow: f, Connection: firewall.Connection{
				Protocol: f.protocol, Client: f.orig.dst, Dialled: f.orig.src, FromHost: true}})
		}
	}
	slices.SortFunc(out, func(a, b found) int {
		return cmp.Or(
			cmp.Compare(a.Protocol, b.Protocol),
			a.Dialled.Compare(b.Dialled),
			a.Client.Compare(b.Client),
		)
	})
	return out
}

// acceptsFor reports whether a connected socket may have come out of a waiting one: same
// protocol, port and family, and an address that it waits on.
func acceptsFor(s, connected inetdiag.Socket) bool {
	own, theirs := s.Local.Addr(), connected.Local.Addr()
	onlyIPv6 := s.Family == unix.AF_INET6 && s.V6Only
	return s.Protocol == connected.Protocol && s.Family == connected.Family &&
		s.Local.Port() == connected.Local.Port() &&
		(own == theirs || own.IsUnspecified() && !(onlyIPv6 && theirs.Is4()))
}
