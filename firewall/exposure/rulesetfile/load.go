package rulesetfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nftjson"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// Limit is the most that a file may hold.
const Limit = exposure.MaxText

// File is a file to load.
type File struct {
	Name   string          // stands in errors and origins
	Family exposure.Family // what the caller knows of an iptables-save file: see split
	// Guess is asked for the IP version of an iptables-save file if nothing tells it; nil: then
	// that is an error.
	Guess func() exposure.Family
	Text  io.Reader // of a bytes.Buffer, the bytes are kept, and must not change
}

// Load reads all files into one Ruleset, whatever their order: a host's iptables-save,
// ip6tables-save and ipset save, say. All errors are reported in one go; then the Ruleset is nil.
//
// A table that is there twice is an error that says which file to leave out: iptables-nft's tables
// are in nft's listing too. A legacy table beside one of nf_tables with the same name is two
// tables, if the save file's first comment tells which it is.
func Load(files ...File) (*exposure.Ruleset, error) {
	var errs []error
	var texts []loaded
	for _, f := range files {
		list, err := open(f)
		errs = append(errs, err)
		texts = append(texts, list...)
	}
	rs, sets := &exposure.Ruleset{}, xtables.NewSets()
	onlySets := len(texts) > 0
	for _, l := range texts {
		if l.unended {
			rs.Partly = append(rs.Partly, l.name+": its last line has no end, and may be cut off: "+
				"if it is, take the output of "+l.format.String()+" again")
		}
		onlySets = onlySets && l.format == IPSet
		if l.format == IPSet {
			errs = append(errs, sets.Read(l.name, bytes.NewBuffer(l.text), time.Time{}))
		}
	}
	seen := tables{}
	for i, l := range texts {
		before := len(rs.Tables)
		r := bytes.NewBuffer(l.text)
		texts[i].text, l.text = nil, nil // each is large, and not needed afterwards
		switch l.format {
		case IPTables:
			errs = append(errs, xtables.ReadSave(l.name, exposure.FamilyIPv4, r, sets, rs))
		case IP6Tables:
			errs = append(errs, xtables.ReadSave(l.name, exposure.FamilyIPv6, r, sets, rs))
		case NFTJSON:
			errs = append(errs, nftjson.ReadJSON(l.name, r, rs))
		case NFTText:
			errs = append(errs, nfttext.Read(l.name, r, rs))
		}
		for _, t := range rs.Tables[before:] {
			errs = append(errs, seen.add(t, l))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if onlySets {
		return nil, fmt.Errorf(
			"%s:1:1: it holds sets and no rules: give the output of iptables-save too",
			files[0].Name,
		)
	}
	if rs.RuleCount() > exposure.MaxFileRules {
		return nil, fmt.Errorf("%s: %s", files[0].Name, exposure.TooManyRules)
	}
	return rs, nil
}

// loaded is a part of a file.
type loaded struct {
	name string
	part
}

func open(f File) ([]loaded, error) {
	text, err := exposure.ReadText(f.Name, f.Text, "split it by table")
	if err != nil {
		return nil, err
	}
	list, err := split(f.Name, text, f.Family, f.Guess)
	var out []loaded
	for _, p := range list {
		out = append(out, loaded{f.Name, p})
	}
	return out, err
}

// tables are those read so far, by family and name, each with the file that it is from.
type tables map[string][]origin

type origin struct {
	variant iptsave.Variant
	name    string
}

func (s tables) add(t *exposure.Table, l loaded) error {
	here := origin{iptsave.NFTables, l.name}
	if l.format == IPTables || l.format == IP6Tables {
		here.variant = l.variant
	}
	key := fmt.Sprint(t.Family, " ", t.Name)
	for _, other := range s[key] {
		if other.variant == here.variant || other.variant == iptsave.Unknown ||
			here.variant == iptsave.Unknown {
			return fmt.Errorf(
				"%s:1:1: table %s is in %s too. Leave one of them out: the save file if rules were "+
					"added with nft, since iptables-save prints those wrongly. If one is legacy and "+
					"the other isn't, keep the comment lines that iptables-save begins with",
				l.name,
				key,
				other.name,
			)
		}
	}
	s[key] = append(s[key], here)
	return nil
}
