package nft

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// op is one command of a transaction. The same values are encoded for the kernel and executed by
// the in-memory kernel of the tests.
type op interface {
	// what names the object for error messages: "chain prerouting".
	what() string
}

type (
	addTable struct {
		mark  string
		flags uint32
	}
	// flagTable changes the flags of a table that is there.
	flagTable struct{ flags uint32 }
	// probeTable makes a table of another name, in a transaction that is never finished.
	probeTable struct{ flags uint32 }
	delTable   struct{}

	addCounter struct{ name string }
	addSet     struct {
		name string
		spec setSpec
		kind setKind
	}
	addChain struct {
		name string
		hook *hook
	}
	flushChain struct{ name string }
	delChain   struct{ name string }
	delSet     struct{ name string }
	delObject  struct {
		name       string
		objectType uint32
	}
	delFlowtable struct{ name string }

	// addRule appends to a chain.
	addRule struct {
		chain string
		rule  rule
	}
	// addElements and delElements carry a set's elements: of one kind, as many as there are.
	addElements struct{ elements }
	delElements struct{ elements }
	// flushSet removes every element, whatever it carries.
	flushSet struct{ name string }
)

// elements is some content of one set.
type elements struct {
	set      string
	kind     setKind
	spans    []span
	keys     address.List
	verdicts []portVerdict
	virtual  []firewall.VirtualService
}

// portVerdict is one element of a map of ports.
type portVerdict struct {
	key     uint32
	verdict verdict
}

func (o addTable) what() string     { return "table " + tableName }
func (o delTable) what() string     { return "table " + tableName }
func (o flagTable) what() string    { return "flags of table " + tableName }
func (o probeTable) what() string   { return "table " + probeName }
func (o addCounter) what() string   { return "counter " + o.name }
func (o addSet) what() string       { return "set " + o.name }
func (o addChain) what() string     { return "chain " + o.name }
func (o flushChain) what() string   { return "chain " + o.name }
func (o delChain) what() string     { return "chain " + o.name }
func (o delSet) what() string       { return "set " + o.name }
func (o flushSet) what() string     { return "set " + o.name }
func (o delObject) what() string    { return "object " + o.name }
func (o delFlowtable) what() string { return "flowtable " + o.name }

func (o addRule) what() string  { return fmt.Sprintf("chain %s, rule %q", o.chain, o.rule) }
func (o elements) what() string { return "elements of set " + o.set }

func (o elements) len() int {
	return len(o.spans) + o.keys.Len() + len(o.verdicts) + len(o.virtual)
}
