package xt

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// ruleset is everything of ours: as it shall be, or as the kernel has it.
type ruleset struct {
	tables map[tableKey]*table
	sets   map[string]*set
	readAt time.Time // when it was read from the kernel, or compiled

	// What was seen of others while reading; empty in what was compiled.
	blocked map[tableKey]string // tables that the program can't handle, and what it says of them
	used    map[variant]bool    // variants in which others have rules
	loaded  map[tableKey]bool   // tables that are there, whether or not we have a part in them
	names   map[string]string   // services by the id in names: their own, or that of a lease
}

func newRuleset() *ruleset {
	return &ruleset{
		tables:  map[tableKey]*table{},
		sets:    map[string]*set{},
		blocked: map[tableKey]string{},
		used:    map[variant]bool{},
		loaded:  map[tableKey]bool{},
		names:   map[string]string{},
	}
}

// variant is which of the two kernel interfaces an iptables program speaks to.
type variant = iptsave.Variant

const (
	legacy    = iptsave.Legacy
	nfVariant = iptsave.NFTables
)

// tableKey names a table of one program.
type tableKey struct {
	variant variant
	family  address.Family
	name    string
}

// String is "iptables-nft table mangle".
func (k tableKey) String() string { return k.program().String() + " table " + k.name }

// program is one of the four iptables programs.
type program struct {
	variant variant
	family  address.Family
}

func (p program) String() string {
	name := "iptables"
	if p.family == address.IPv6 {
		name = "ip6tables"
	}
	if p.variant == legacy {
		return name + "-legacy"
	}
	return name + "-nft"
}

func (k tableKey) program() program { return program{k.variant, k.family} }

// Tables that we use, in the order in which a packet meets them.
const (
	mangle   = "mangle"
	filter   = "filter"
	security = "security"
)

// table is our part of one table.
type table struct {
	chains map[string]*chain
	// hooks are the rules of built-in chains that lead to our chains, by chain.
	hooks map[string][]hook
	// marked: one of the rules bears our mark.
	marked bool
}

func newTable() *table { return &table{chains: map[string]*chain{}, hooks: map[string][]hook{}} }

// empty reports whether nothing of ours is in the table.
func (t *table) empty() bool { return t == nil || len(t.chains)+len(t.hooks) == 0 }

// at returns our part of a table, empty if there is none.
func (r *ruleset) at(k tableKey) *table {
	if t := r.tables[k]; t != nil {
		return t
	}
	return newTable()
}

// table returns our part of a table, made if need be.
func (r *ruleset) table(k tableKey) *table {
	if r.tables[k] == nil {
		r.tables[k] = newTable()
	}
	return r.tables[k]
}

// decides reports whether a table of ours decides about packets.
func (t *table) decides() bool { return t != nil && t.chains[baseChain] != nil }

// keys lists the tables of either ruleset, in one order.
func keys(a, b *ruleset) []tableKey {
	seen := map[tableKey]bool{}
	var out []tableKey
	for _, r := range []*ruleset{a, b} {
		for k := range r.tables {
			if !seen[k] {
				seen[k] = true
				out = append(out, k)
			}
		}
	}
	slices.SortFunc(out, func(a, b tableKey) int {
		return cmp.Or(strings.Compare(string(a.variant), string(b.variant)),
			cmp.Compare(a.family, b.family), strings.Compare(a.name, b.name))
	})
	return out
}

// hook is a rule of a built-in chain that leads to one of ours.
type hook struct {
	position int // 0 is first
	rule     rule
}

type chain struct {
	name    string
	service string // whose it is, "" for what serves all of them
	rules   []rule
}

// rule is compared by canon alone.
type rule struct {
	canon   string
	text    string   // in the syntax of iptables-save, without "-A CHAIN"
	source  string   // the prefix, if that is the rule's only match: to people it is an element
	target  string   // of -j or -g
	sets    []string // the ipsets it looks up or adds to
	ports   string   // "tcp/9000-9100" if it dispatches on ports
	counter firewall.Counter

	unconditional bool // has a target and nothing else
}

// setKind says what a set's elements are. Its value is the letter of the set's name.
type setKind byte

const (
	kindNets  setKind = 'N' // prefixes: hash:net
	kindHosts setKind = 'H' // exact addresses: hash:ip
	kindUntil setKind = 'U' // prefixes that end by themselves: hash:net with timeouts

	// Multicast questions: hash:ip,port with timeouts. Packets fill these sets, so their elements
	// are neither read nor compared.
	kindOwnPort  setKind = 'O' // where the answer goes to, and the port that asked
	kindPeerPort setKind = 'P' // where the answer goes to, and the port that was asked

	kindVirtual setKind = 'V' // services of IPVS: hash:ip,port
)

// questions reports whether packets fill sets of this kind.
func (k setKind) questions() bool { return k == kindOwnPort || k == kindPeerPort }

// set is an ipset of ours.
type set struct {
	name     string
	service  string
	family   address.Family
	kind     setKind // 0 if it is of a shape that we never make
	elements elements
	// unexpected elements carry something that we never write, such as nomatch.
	unexpected int
}

// nameLeases finds whose the leases are that were read: what a lease does not let in goes on to the
// chain of its service.
func (r *ruleset) nameLeases() {
	for _, t := range r.tables {
		for _, c := range t.chains {
			if n := len(c.rules); c.service != "" && isLeaseChain(c.name) && n > 0 {
				if to := c.rules[n-1].target; to == sourceChain(serviceOf(to)) {
					r.names[c.service] = serviceOf(to)
				}
			}
		}
	}
	for _, t := range r.tables {
		for _, c := range t.chains {
			c.service = cmp.Or(r.names[c.service], c.service)
		}
	}
	for _, s := range r.sets {
		s.service = cmp.Or(r.names[s.service], s.service)
	}
}

// lookUps is the set of ipsets that rules of ours look up or add to, in whatever table.
func (r *ruleset) lookUps() map[string]bool {
	out := map[string]bool{}
	for _, t := range r.tables {
		for _, c := range t.chains {
			for _, x := range c.rules {
				for _, name := range x.sets {
					out[name] = true
				}
			}
		}
	}
	return out
}
