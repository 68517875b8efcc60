package audit

import (
	"fmt"
	"strings"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
)

// assumeEmptySets lists the named sets of listings in which no named set has an element. `nft -t`
// omits the elements, and its output can't be told from that of a host whose sets are empty.
func (a *auditor) assumeEmptySets() {
	filled, empty := map[string]bool{}, map[string][]string{}
	var files []string
	for _, t := range a.Rules.Tables {
		if t.System != exposure.NFTables {
			continue
		}
		for _, s := range t.Sets {
			file := s.Origin.File
			switch {
			case s.Len() > 0 || s.Default:
				filled[file] = true
			case !s.Grows && s.Unknown == "":
				if empty[file] == nil {
					files = append(files, file)
				}
				empty[file] = append(empty[file], firewall.Excerpt(s.Name))
			}
		}
	}
	for _, file := range files {
		list := empty[file]
		if filled[file] {
			continue
		}
		words := strings.Join(list[:min(maxNamed, len(list))], ", ")
		if more := len(list) - maxNamed; more > 0 {
			words += fmt.Sprintf(" and %d more", more)
		}
		a.assumed[fmt.Sprintf(
			"no set in %s has an element (%s): if it was taken with nft -t, which leaves them out, "+
				"take it again without",
			file, words,
		)] = true
	}
}
