package xtables

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
)

// AddSources adds a set of the types hash:ip or hash:net, with its sources. header is what ipset
// save prints behind its name.
func (s *Sets) AddSources(name, header string, sources exposure.Ranges) {
	i := newIPSet(name, strings.Fields(header))
	i.finish(source{})
	i.set.Flat = sources
	s.sets[name] = i
}

// AddElements adds a set with its elements. header and elements are what ipset save prints behind
// its name. now is when they were printed.
func (s *Sets) AddElements(name, header string, elements []string, now time.Time) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "create %s %s\n", name, header)
	for _, e := range elements {
		fmt.Fprintf(&text, "add %s %s\n", name, e)
	}
	return readSets(source{name: "ipset " + name}, text.Bytes(), now, s.sets)
}

// ReadWritten is ReadSave for what a program is about to write: it counts as what the kernel holds.
func ReadWritten(
	name string, family exposure.Family, text []byte, sets *Sets, rs *exposure.Ruleset,
) error {
	return readSave(source{name: name}, family, text, sets, rs)
}
