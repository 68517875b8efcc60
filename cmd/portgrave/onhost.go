package main

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure/hostview"
	"github.com/portgrave/portgrave/firewall/exposure/sockets"
	"github.com/portgrave/portgrave/firewall/rawsockets"
	"github.com/portgrave/portgrave/policy"
)

// warnOnHost warns of what a policy names and this host lacks. Neither boot nor the daemon does:
// there the interfaces are yet to come.
func (inv *invocation) warnOnHost(p *policy.Policy, c *policy.Compiled) {
	backend, _ := inv.enforcedWith()
	for _, w := range onHost(p, c, backend) {
		c.Warnings = append(c.Warnings, w)
		inv.screen.warnf("%v", w)
	}
}

// onHost is what to warn of where a backend enforces the policy. What can't be read is not warned
// of: the policy is no worse for it.
func onHost(p *policy.Policy, c *policy.Compiled, backend string) []policy.Problem {
	h, err := readThisHost(backend)
	if err != nil {
		return nil
	}
	return p.OnHost(c, h, time.Now())
}

// readThisHost reads what policies name of this host.
func readThisHost(backend string) (h policy.Host, err error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return h, err
	}
	for _, i := range interfaces {
		h.Interfaces = append(h.Interfaces, i.Name)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return h, err
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok {
			if address, ok := netip.AddrFromSlice(n.IP); ok {
				h.Addresses = append(h.Addresses, address.Unmap())
			}
			if address, ok := broadcastOf(n); ok {
				h.Addresses = append(h.Addresses, address)
			}
		}
	}
	if backend == "iptables" {
		h.VRFs = vrfs()
	}
	h.Raw, _ = rawsockets.Protocols(rawsockets.Here)
	return h, nil
}

// sshServers are the addresses where an SSH server of this host listens for other machines; none
// where the sockets can't be read.
func sshServers(ctx context.Context) (list []netip.AddrPort) {
	listening, err := sockets.Read(ctx)
	if err != nil {
		return nil
	}
	for _, l := range listening.Current() {
		if l.Protocol == firewall.TCP && !l.Loopback() && isSSHServer(l) {
			list = append(list, netip.AddrPortFrom(l.Address, l.Port))
		}
	}
	return list
}

// sshPort is SSH's own port.
const sshPort = 22

// isSSHServer knows an SSH server by its name. At SSH's own port it is also systemd, which starts
// one for each connection, and root's program that another user may not look at.
func isSSHServer(l sockets.Listener) bool {
	for _, o := range l.Owners {
		if slices.Contains([]string{"sshd", "sshd-session", "dropbear", "tinysshd"}, o.Name) {
			return true
		}
	}
	return l.Port == sshPort && (l.Activated() || len(l.Owners) == 0 && l.User == "root")
}

// broadcastOf is the broadcast address of an IPv4 network; false if it has none.
func broadcastOf(n *net.IPNet) (netip.Addr, bool) {
	ip, mask := n.IP.To4(), n.Mask
	if ones, bits := mask.Size(); ip == nil || bits != 32 || ones > 30 {
		return netip.Addr{}, false
	}
	var last [4]byte
	for i := range last {
		last[i] = ip[i] | ^mask[i]
	}
	return netip.AddrFrom4(last), true
}

// vrfs are the VRFs that interfaces of this host are in.
func vrfs() map[string]string {
	h, err := hostview.Read(context.Background())
	if err != nil {
		return nil
	}
	out := map[string]string{}
	for _, i := range h.Interfaces {
		if m := h.ByIndex(i.Master); m != nil && m.Kind == "vrf" {
			out[i.Name] = m.Name
		}
	}
	return out
}
