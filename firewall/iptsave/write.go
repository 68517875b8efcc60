package iptsave

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall"
)

// Script is what iptables-restore --noflush --counters is told of one table, in one commit. Rules
// are in the syntax of iptables-save, without "-A CHAIN", as Join writes them.
type Script struct{ text []byte }

// NewScript begins a commit.
func NewScript(table string) *Script {
	s := &Script{}
	s.line("*%s", table)
	return s
}

func (s *Script) line(format string, args ...any) {
	s.text = fmt.Appendf(s.text, format+"\n", args...)
}

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

// Flush empties a chain.
func (s *Script) Flush(chain string) { s.line("-F %s", chain) }

// Remove deletes an empty chain.
func (s *Script) Remove(chain string) { s.line("-X %s", chain) }

// Commit ends the script and returns it.
func (s *Script) Commit() []byte {
	s.line("COMMIT")
	return s.text
}

// SetScript is what ipset restore is told: one change after the other, not one commit.
type SetScript struct{ text []byte }

func (s *SetScript) line(format string, args ...any) {
	s.text = fmt.Appendf(s.text, format+"\n", args...)
}

// SetType is the shape of a set of the hash types.
type SetType struct {
	Name     string // "hash:net"
	Family   firewall.Family
	HashSize int
	MaxElem  int
	// Ends says that elements may end by themselves, after Timeout seconds unless they say otherwise; 0
	// is never.
	Ends    bool
	Timeout int
}

// Create makes a set.
func (s *SetScript) Create(set string, t SetType) {
	family := "inet"
	if t.Family == firewall.IPv6 {
		family = "inet6"
	}
	timeout := ""
	if t.Ends {
		timeout = fmt.Sprintf(" timeout %d", t.Timeout)
	}
	s.line("create %s %s family %s hashsize %d maxelem %d%s", set, t.Name, family, t.HashSize,
		t.MaxElem, timeout)
}

// Flush empties a set.
func (s *SetScript) Flush(set string) { s.line("flush %s", set) }

// Swap gives two sets each other's name.
func (s *SetScript) Swap(set, other string) { s.line("swap %s %s", set, other) }

// Destroy removes a set.
func (s *SetScript) Destroy(set string) { s.line("destroy %s", set) }

// Bytes is the script; empty if there is nothing to do.
func (s *SetScript) Bytes() []byte { return s.text }
