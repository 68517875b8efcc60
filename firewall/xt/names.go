package xt

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pattern"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

const (
	// baseChain is where INPUT leads; all our names begin with it.
	baseChain = "PORTGRAVE"
	// forwardChain is where FORWARD leads, labelChain where PREROUTING does.
	forwardChain, labelChain = baseChain + "-F", baseChain + "-L"
	// portsChain is the tree over a packet's own ports, originalChain that over a connection's
	// original ones; virtualChain and virtualTree are for addresses that only DNAT knows.
	portsChain, originalChain = baseChain + "-P", baseChain + "-D"
	virtualChain, virtualTree = baseChain + "-V", baseChain + "-T"
	// ipvsChain and ipvsTree are the same for addresses that the host holds for IPVS alone.
	ipvsChain, ipvsTree = baseChain + "-I", baseChain + "-J"
	// spoofedPorts looks for listed ports in what bears one of our own addresses.
	spoofedPorts = baseChain + "-NP"
	// questionsChain notes multicast questions, answersChain lets their answers in.
	questionsChain, answersChain = baseChain + "-Q", baseChain + "-C"

	// mark is the comment that tells our chains from somebody else's of the same name. It stands in
	// the hook and at the head of the chain hooked, so that either alone may be lost.
	mark = "written by portgrave: do not edit, use the policy file"
)

// maxID is what a chain name has left for a service: a name is at most 28 characters
// (XT_EXTENSION_MAXNAMELEN is 29, include/uapi/linux/netfilter/x_tables.h) and "PORTGRAVE-S-" takes
// twelve. A set's name has room for 31 (IPSET_MAXNAMELEN is 32,
// include/uapi/linux/netfilter/ipset/ip_set.h): "PORTGRAVE-N4-", this, "+".
const maxID = 16

// id is a service's name as far as kernel names can hold it.
func id(service string) string { return firewall.Shorten(service, maxID) }

// chainName spells the name of a chain; original: the chain asks for a connection's original
// destination.
func chainName(n pipeline.Name, original bool) string {
	switch n.Role {
	case pipeline.Other:
		return n.Text
	case pipeline.Shared:
		return portsChainName(pick(original, "K", "H"), n.Ports)
	}
	if letters, ok := chainLetters[n.Role]; ok {
		return baseChain + "-" + letters
	}
	holder, letter := n.Service, serviceLetters[n.Role]
	if n.OfLease() {
		holder, letter = leaseHolder(n.Service, n.Ports), leaseLetters[n.Role]
	}
	if letter == (letterPair{}) {
		panic(fmt.Sprintf("xt: no chain name for role %d", n.Role))
	}
	return baseChain + "-" + pick(original, letter.original, letter.own) + "-" + id(holder)
}

// chainLetters name the chains that serve all services.
var chainLetters = map[pipeline.Role]string{
	pipeline.Remember:       "L",
	pipeline.VRF:            "LV",
	pipeline.Elsewhere:      "LE",
	pipeline.OwnSource:      "N",
	pipeline.Spoofed:        "X",
	pipeline.Direct:         "B",
	pipeline.DirectRefuse:   "BR",
	pipeline.Unlisted:       "U",
	pipeline.UnlistedRefuse: "UR",
}

// letterPair names a chain that asks for a packet's own destination, and one that asks for its
// connection's original one. They are the same where the chain asks for neither.
type letterPair struct{ own, original string }

// serviceLetters name a service's chains, and leaseLetters a lease's.
var (
	serviceLetters = map[pipeline.Role]letterPair{
		pipeline.Service: {"S", "S"},
		pipeline.Where:   {"W", "O"},
		pipeline.Allow:   {"A", "A"},
		pipeline.Refuse:  {"R", "R"},
	}
	leaseLetters = map[pipeline.Role]letterPair{
		pipeline.Service: {"G", "G"},
		pipeline.Where:   {"Y", "Z"},
	}
)

// leaseHolder is what the names of a lease's chain and sets say of whom they are for: the service,
// and the first of the ports that are open. No service name contains "~", so that none is taken for
// another's.
func leaseHolder(service string, ports firewall.PortRange) string {
	return fmt.Sprintf("%s~%s-%d", service, ports.Protocol, ports.First)
}

// isLeaseChain reports whether a chain is there for a lease alone.
func isLeaseChain(chain string) bool { return leaseChains.MatchString(chain) }

var leaseChains = pattern.New(`^` + baseChain + `-[GYZ]-`)

// portsChainName is the name of a chain that is for some ports, whatever service they belong to.
func portsChainName(letter string, p firewall.PortRange) string {
	return fmt.Sprintf("%s-%s-%s-%d", baseChain, letter, p.Protocol, p.First)
}

func (c *compiler) name(n pipeline.Name) string { return chainName(n, c.original) }

func serviceChain(r pipeline.Role, service string) string {
	return chainName(pipeline.Of(r, service), false)
}

func sourceChain(service string) string { return serviceChain(pipeline.Service, service) }
func leaseChain(service string, l firewall.Lease) string {
	return chainName(pipeline.Leased(service, l), false)
}
func allowChain(service string) string  { return serviceChain(pipeline.Allow, service) }
func refuseChain(service string) string { return serviceChain(pipeline.Refuse, service) }

// namedChain asks whether a virtual IP is named by a service; original: the original destination.
func namedChain(p firewall.PortRange, original bool) string {
	return portsChainName(pick(original, "E", "M"), p)
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// ours reports whether a chain bears our name.
func ours(chain string) bool {
	return chain == baseChain || strings.HasPrefix(chain, baseChain+"-")
}

// serviceOf is the service that a chain or a set of our name serves, as far as the name tells: of a
// lease's, the lease's holder; "" for shared ones.
func serviceOf(chain string) string {
	if m := serviceNames.Regexp().FindStringSubmatch(chain); m != nil {
		return m[1]
	}
	return ""
}

var serviceNames = pattern.New(`^` + baseChain + `-(?:[WOSARGYZ]|[NHU][46])-(.+?)\+?$`)

// setName is the name of a service's or a lease's set in one of its two slots; "" is what serves
// all of them.
func setName(holder string, k setKind, f address.Family, second bool) string {
	name := fmt.Sprintf("%s-%c%d", baseChain, k, f)
	if holder != "" {
		name += "-" + id(holder)
	}
	if second {
		name += secondSlot
	}
	return name
}

// secondSlot ends the name of a set in its second slot; no service name contains it.
const secondSlot = "+"

// otherSlot is the other name that the same set may have.
func otherSlot(name string) string {
	if first, second := strings.CutSuffix(name, secondSlot); second {
		return first
	}
	return name + secondSlot
}

var setNames = pattern.New(`^` + baseChain + `-(?:[NHU][46]-[A-Za-z0-9._~-]+|[OPV][46])\+?$`)
