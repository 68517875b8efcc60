package iptsave

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// Script is the input of a restore program.
//
// For iptables-restore --noflush --counters it is one table in one commit, from Begin to Commit.
// Rules are in the syntax of iptables-save, without "-A CHAIN", as Join writes them. For ipset
// restore it is one change after the other.
type Script []byte

func (s *Script) line(format string, args ...any) { *s = fmt.Appendf(*s, format+"\n", args...) }

// Begin begins a table, and Commit ends it.
func (s *Script) Begin(table string) { s.line("*%s", table) }

func (s *Script) Commit() { s.line("COMMIT") }

// Declare makes a chain, or empties it. All chains have to stand before the first rule that goes to
// one.
func (s *Script) Declare(chain string) { s.line(":%s - [0:0]", chain) }

// Append adds a rule with its counter.
func (s *Script) Append(chain string, c firewall.Counter, rule string) {
	s.line("[%d:%d] -A %s %s", c.Packets, c.Bytes, chain, rule)
}

// Insert puts a rule in a place, from 1.
func (s *Script) Insert(chain string, place int, rule string) {
	s.line("-I %s %d %s", chain, place, rule)
}

// Delete takes the first such rule away.
func (s *Script) Delete(chain, rule string) { s.line("-D %s %s", chain, rule) }

// Flush empties a chain, and Remove deletes an empty one.
func (s *Script) Flush(chain string) { s.line("-F %s", chain) }

func (s *Script) Remove(chain string) { s.line("-X %s", chain) }

// SetType is the shape of a set of the hash types.
type SetType struct {
	Name     string // "hash:net"
	Family   address.Family
	HashSize int
	MaxElem  int
	// Ends says that elements may end by themselves, after Timeout seconds unless they say
	// otherwise; 0 is never.
	Ends    bool
	Timeout int
}

// CreateSet makes a set.
func (s *Script) CreateSet(set string, t SetType) {
	family, timeout := "inet", ""
	if t.Family == address.IPv6 {
		family = "inet6"
	}
	if t.Ends {
		timeout = fmt.Sprintf(" timeout %d", t.Timeout)
	}
	s.line("create %s %s family %s hashsize %d maxelem %d%s", set, t.Name, family, t.HashSize,
		t.MaxElem, timeout)
}

// FlushSet empties a set, SwapSets gives two sets each other's name, and DestroySet removes one.
func (s *Script) FlushSet(set string) { s.line("flush %s", set) }

func (s *Script) SwapSets(set, other string) { s.line("swap %s %s", set, other) }

func (s *Script) DestroySet(set string) { s.line("destroy %s", set) }
