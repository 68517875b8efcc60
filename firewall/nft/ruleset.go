package nft

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink/nftables"
)

// Names of what there is once.
const (
	tableName       = "portgrave"
	probeName       = "portgrave/probe" // of a table that never comes to be
	preroutingChain = "prerouting"
	inputChain      = "input"
	forwardChain    = "forward"
	rememberChain   = "remember"
	exemptChain     = "exempt"
	ownSourceChain  = "own-source"
	spoofedChain    = "spoofed"
	virtualChain    = "virtual" // addresses that only the host's DNAT knows
	insideChain     = "inside"  // to a service of IPVS, from the host's own workloads
	directChain     = "direct"
	unlistedChain   = "unlisted"

	// tableMark is the comment that tells our table from somebody else's of the same name.
	tableMark = "written by portgrave: do not edit, use the policy file"
)

// ruleset is the whole content of table inet portgrave: as it shall be, or as the kernel has it.
type ruleset struct {
	name    string // of the table
	present bool
	mark    string // the table's comment
	flags   uint32 // the table's: tableDormant, tableOwner, tablePersist
	// with tableOwner: the netlink port of the only socket that may change the table
	owner    uint32
	chains   map[string]*chain
	sets     map[string]*set
	counters map[string]counter
	// foreignObjects are of kinds that we never make: flowtables, quotas, limits, …
	foreignObjects []foreignObject
	// generation is nf_tables' commit counter when this was read.
	generation uint32
	readAt     time.Time // when it was read from the kernel, or compiled
	// leftover is the second table, if a hand-over was interrupted; nil otherwise.
	leftover *leftover
	// large are the parts that are held by prefix length, in a ruleset that was compiled.
	large map[part]largePart
}

func newRuleset() *ruleset {
	return &ruleset{
		name:     tableName,
		chains:   map[string]*chain{},
		sets:     map[string]*set{},
		counters: map[string]counter{},
		large:    map[part]largePart{},
	}
}

// largePart is what the objects of a large part were made from.
type largePart struct {
	service firewall.Service
	at      placement
	pieces  *pieces
}

type hook = nftables.Hook

// The hooks that we use (enum nf_inet_hooks, include/uapi/linux/netfilter.h; priorities in
// include/uapi/linux/netfilter_ipv4.h). Prerouting runs after NF_IP_PRI_CONNTRACK = -200 and ten
// before NF_IP_PRI_NAT_DST = -100. Input and forward run at NF_IP_PRI_RAW = -300, before everybody
// else's chains there, so that what we refuse is counted and logged by nobody else.
var (
	prerouting = hook{Type: "filter", Number: 0, Priority: -110, Policy: 1}
	input      = hook{Type: "filter", Number: 1, Priority: -300, Policy: 1}
	forward    = hook{Type: "filter", Number: 2, Priority: -300, Policy: 1}
)

// output is where questions leave: NF_INET_LOCAL_OUT, behind whatever others drop there.
var output = hook{Type: "filter", Number: 3, Priority: 300, Policy: 1}

// hookNames are the words of nft for hooks, by number.
var hookNames = []string{"prerouting", "input", "forward", "output"}

type chain struct {
	name string
	is   identity
	// service is the one that a chain we made stands for: of one that several share, the first.
	service string
	hook    *hook // nil for a regular chain
	binding bool  // made by the kernel for an anonymous chain of a rule; goes when the rule goes
	rules   []rule
}

// rule is what the builder makes and the kernel reports: the same typed expressions.
type rule = nftables.Rule

// setKind says what a set's elements are.
type setKind uint8

const (
	kindForeign  setKind = iota // nothing we make
	kindHosts                   // exact addresses, in a hash
	kindNets                    // address ranges
	kindExpiring                // address ranges that end by themselves
	kindPorts                   // port → verdict, a map for each protocol
	kindAsked                   // questions, by address and ports; filled by packets too
	kindVirtual                 // services of IPVS, by address, protocol and port
	kindDynamic                 // filled by packets, so its elements are in no plan
	kindPrefix                  // prefixes of one length, which the name says, in a hash
)

type setSpec = nftables.SetSpec

type set struct {
	name     string
	is       identity
	family   address.Family // of address sets; 0 otherwise
	kind     setKind
	spec     setSpec
	spans    []span                    // kindHosts, kindNets, kindExpiring: ascending, disjoint
	keys     address.List              // kindPrefix
	verdicts map[uint32]verdict        // kindPorts, by portKey
	virtual  []firewall.VirtualService // kindVirtual: ascending
	// unexpected elements carry something that we never write, such as a limit of their own.
	unexpected int
	anonymous  bool // belongs to a rule and goes with it
	// count is how many elements the kernel says it has, with counted.
	count   uint32
	counted bool
	// proven: every element was read, or looked at by holds, in an earlier generation, and no
	// transaction has named the set since.
	proven bool
}

// sameSet is the set of that name, if it is declared alike; nil if there is none.
func (r *ruleset) sameSet(s *set) *set {
	if r == nil || r.sets[s.name] == nil || r.sets[s.name].spec != s.spec {
		return nil
	}
	return r.sets[s.name]
}

// elements is how many elements of ours the set holds.
func (s *set) elements() int {
	return len(s.spans) + s.keys.Len() + len(s.verdicts) + len(s.virtual)
}

// span is a range of addresses, both ends included, until a moment (the zero Time: for good).
type span struct {
	first, last netip.Addr
	until       time.Time
}

func spanOf(p netip.Prefix, until time.Time) span {
	return span{first: p.Addr(), last: address.Last(p), until: until}
}

// String is the CIDR if the span is one, else "first-last".
func (s span) String() string {
	if p, ok := address.PrefixOf(s.first, s.last); ok {
		return p.String()
	}
	return s.first.String() + "-" + s.last.String()
}

// serviceAt is the service whose chain has that name; "" for chains that serve several.
func (r *ruleset) serviceAt(chain string) string {
	if c := r.chains[chain]; c != nil {
		return c.is.service
	}
	return ""
}

// portMaps are the names of a ruleset's maps of ports, in order.
func (r *ruleset) portMaps() (out []string) {
	for _, name := range sortedKeys(r.sets) {
		if r.sets[name].kind == kindPorts {
			out = append(out, name)
		}
	}
	return out
}

// portKey is protocol<<16 | port.
func portKey(p firewall.Protocol, port uint16) uint32 { return uint32(p)<<16 | uint32(port) }

// verdict is the data of an element of a map of ports: a goto to a chain, if it is ours.
type verdict = nftables.Verdict

type counter = firewall.Counter

// foreignObject is an object in our table of a kind we never make.
type foreignObject struct {
	kind       string // for people: "flowtable", "object"
	name       string
	objectType uint32 // NFT_OBJECT_*; 0 for a flowtable
}
