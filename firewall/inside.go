package firewall

import "slices"

// containerInterfaces are the interfaces that container engines, Kubernetes network plug-ins and
// libvirt make: behind them are workloads of this host, not the network outside. The names are the
// defaults of Docker (docker0), Podman and CNI (podman0, cni0, vethX), Calico (caliX), Cilium
// (cilium_host, lxcX), flannel (flannel.1), Antrea (antrea-gw0), OVN-Kubernetes (ovn-k8s-mp0),
// kube-router (kube-bridge), Weave (weave), LXC and LXD (lxcbr0, lxdbr0) and libvirt (virbr0,
// vnetX). Not br-*, which Docker's networks bear, and uplinks such as br-ex and br-lan too: Direct
// may name them.
var containerInterfaces = []string{"antrea-gw*", "cali*", "cilium_*", "cni*", "docker*", "flannel*",
	"kube-bridge", "lxc*", "lxdbr*", "ovn-k8s-*", "podman*", "veth*", "virbr*", "vnet*", "weave*"}

// Inside lists the interfaces behind which this host's own workloads are, in canonical form: those
// of Direct and the well-known ones. A workload reaches virtual IPs, which this host's DNAT alone
// knows, without asking the services that list the port, unless their Addresses name the virtual
// IP.
func (s State) Inside() []string {
	out, _ := canonicalInterfaces(
		slices.Concat(s.Direct, containerInterfaces),
	) // Canonical has checked Direct
	return out
}

// OwnLabel is the bit of a connection's label (ct label) that says: its first packet was addressed
// to one of this host's own addresses. Behind DNAT nothing else tells that any more. There are 128
// bits (NF_CT_LABELS_MAX_SIZE, include/uapi/linux/netfilter/nf_conntrack_common.h), and hardly any
// program uses one; the packet mark, which many fight over, stays untouched.
const OwnLabel = 90

// SpoofedLabel is the bit that says: the first packet came from outside and bore an address of the
// interface by which it came. Past routing that can't be told of an interface in a VRF.
const SpoofedLabel = 91

// OutsideLabel is the bit that says: the connection was begun by a packet that came in from
// outside. What comes to this host as a reply belongs to a connection that the host itself has
// begun, so this bit tells a reply that is none, whatever address a packet has borne.
const OutsideLabel = 92

// ElsewhereLabel is the bit that says: the first packet came by none of State.Direct. What goes
// there as a reply without it was asked for from there.
const ElsewhereLabel = 93
