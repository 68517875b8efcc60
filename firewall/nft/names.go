package nft

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// Names of a service's objects begin with "svc/", its name and a slash. What an object's name says
// is parsed once, where the object is read or made.

// role says what an object is for, as far as its name tells.
type role uint8

const (
	roleOther   role = iota
	rolePorts        // a map from a protocol's ports to the chains that decide
	roleService      // the chain that a service's packets come to
	roleLarge        // one of those that hold a large part (large.go)
)

// identity is what an object's name says. The zero value is that of a name that isn't ours, or of
// an object that serves all services.
type identity struct {
	service  string
	role     role
	protocol firewall.Protocol // rolePorts
	family   address.Family    // roleLarge
	// length is the prefixes' that a set of roleLarge holds, with isLengthSet.
	length      uint8
	isLengthSet bool
}

const servicePrefix, portsPrefix = "svc/", "ports-"

func parseName(name string) identity {
	if word, ok := strings.CutPrefix(name, portsPrefix); ok {
		p, err := firewall.ParseProtocol(word)
		if err != nil || portsMap(p) != name {
			return identity{}
		}
		return identity{role: rolePorts, protocol: p}
	}
	rest, ours := strings.CutPrefix(name, servicePrefix)
	if !ours {
		return identity{}
	}
	service, tail, isPart := strings.Cut(rest, "/")
	is := identity{service: service}
	if !isPart && service != "" {
		is.role = roleService
	}
	for _, f := range address.Families {
		end, ok := strings.CutPrefix(tail, f.String())
		if !ok || end != "" && !strings.ContainsAny(end[:1], "-/.") {
			continue
		}
		is.role, is.family = roleLarge, f
		if _, digits, ok := strings.Cut(end, "/"); ok {
			if n, err := strconv.ParseUint(digits, 10, 8); err == nil && n <= 128 {
				is.length, is.isLengthSet = uint8(n), true
			}
		}
	}
	return is
}

// part is the large part that the object belongs to, if it does.
func (i identity) part() (part, bool) {
	return part{i.service, i.family}, i.role == roleLarge
}

// of reports whether the object belongs to a large part.
func (i identity) of(p part) bool {
	q, ok := i.part()
	return ok && p == q
}

// portsMap is the name of a protocol's map from ports to the chains that decide.
func portsMap(p firewall.Protocol) string { return portsPrefix + p.String() }

// chainName spells the name of a chain.
func chainName(n pipeline.Name) string {
	switch n.Role {
	case pipeline.Other:
		return n.Text
	case pipeline.Shared:
		return "shared/" + n.Ports.String()
	}
	if name, ok := chainNames[n.Role]; ok {
		return name
	}
	suffix, ok := serviceSuffixes[n.Role]
	if !ok {
		panic(fmt.Sprintf("nft: no chain name for role %d", n.Role))
	}
	name := serviceChain(n.Service)
	if n.OfLease() {
		name += "/lease-" + portName(n.Ports)
	}
	return name + suffix
}

// chainNames are the names of the chains that serve all services.
var chainNames = map[pipeline.Role]string{
	pipeline.Remember:       rememberChain,
	pipeline.VRF:            "vrf",
	pipeline.Elsewhere:      "elsewhere",
	pipeline.OwnSource:      ownSourceChain,
	pipeline.Spoofed:        spoofedChain,
	pipeline.Direct:         directChain,
	pipeline.DirectRefuse:   directChain + "/refuse",
	pipeline.Unlisted:       unlistedChain,
	pipeline.UnlistedRefuse: unlistedChain + "/refuse",
}

// serviceSuffixes end the names of a service's chains, and of a lease's.
var serviceSuffixes = map[pipeline.Role]string{
	pipeline.Service: "",
	pipeline.Where:   "/where",
	pipeline.Allow:   "/allow",
	pipeline.Refuse:  "/refuse",
}

// Names of a service's objects.
func serviceChain(name string) string { return servicePrefix + name }
func allowChain(name string) string   { return chainName(pipeline.Of(pipeline.Allow, name)) }
func refuseChain(name string) string  { return chainName(pipeline.Of(pipeline.Refuse, name)) }

func addressSet(service string, f address.Family) string {
	return fmt.Sprintf("svc/%s/addresses-%s", service, f)
}

func rateSet(service string, f address.Family) string {
	return fmt.Sprintf("svc/%s/rate-%s", service, f)
}

func logSet(f address.Family) string { return "denied-log/" + f.String() }

func counterName(chain, what string, f address.Family) string {
	return fmt.Sprintf("%s/%s-%s", chain, what, f)
}

// sourceSetName is the name in one of the two slots.
func sourceSetName(service string, kind setKind, f address.Family, second bool) string {
	name := fmt.Sprintf("svc/%s/%s-%s", service,
		map[setKind]string{kindHosts: "hosts", kindNets: "nets", kindExpiring: "until"}[kind], f)
	if second {
		name += secondSlot
	}
	return name
}

// leaseSet is the set of a lease's sources, by the name of its chain, in one of the two slots that
// the service's small sets have too.
func leaseSet(chain string, f address.Family, second bool) string {
	name := fmt.Sprintf("%s/until-%s", chain, f)
	if second {
		name += secondSlot
	}
	return name
}

// secondSlot ends the names of small sets in the second of their two slots.
const secondSlot = ".2"

// portName is the protocol and the first port of a range: "tcp-8005".
func portName(r firewall.PortRange) string {
	return fmt.Sprintf("%s-%d", r.Protocol, r.First)
}

// chain is the chain that leads to a large part's sources, or holds them.
func (p part) chain(at placement) string {
	return fmt.Sprintf("svc/%s/%s%s", p.service, p.family, at.suffix())
}

// shardChain is the chain of a part of a part.
func (p part) shardChain(at placement, shard int) string {
	return fmt.Sprintf("svc/%s/%s-%d%s", p.service, p.family, shard, at.suffix())
}

// lengthSet is the set of a chain's prefixes of one length.
func lengthSet(chain string, length int) string { return fmt.Sprintf("%s/%d", chain, length) }
