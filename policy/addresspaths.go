package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/portgrave/portgrave/firewall/address"
)

// To say what select to write, the beginning of a document is read into an outline. A path is
// offered only if everything that it selects there is an entry of a list, and nothing beside an
// entry changes what it means.

// outline is what the values at one JSON path look like. Entries of an array share a path.
type outline struct {
	tally
	members map[string]*outline // of objects
	names   []string            // of members, in order
	objects int
	items   *outline // of arrays; nil if there are none
	arrays  int
	columns []tally // of arrays, by index
	// apart are steps to members that are one entry together: addresses and their length, or the
	// ends of a range. rowsApart are those to entries of arrays.
	apart, rowsApart []string
}

// tally counts values.
type tally struct {
	entries int // strings that can be entries of a list
	nulls   int
	others  int
}

// clean reports whether all values are entries, and there are some.
func (t tally) clean() bool { return t.entries > 0 && t.nulls == 0 && t.others == 0 }

// member is a member of an object; text is empty unless it is a string or a number.
type member struct{ name, text string }

// maxColumns bounds the indexes of arrays that are told apart.
const maxColumns = 16

// outlineOf reads the beginning of one or more documents, which may stop anywhere.
func outlineOf(text []byte) *outline {
	root := &outline{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	for {
		if _, _, err := root.read(decoder, 0); err != nil {
			return root
		}
	}
}

// read adds the next value. It returns the value's text and what it counts as.
func (o *outline) read(decoder *json.Decoder, depth int) (text string, seen tally, err error) {
	t, err := decoder.Token()
	if err == nil && depth > maxDepth {
		err = errTooDeep
	}
	if err != nil {
		return "", tally{}, err
	}
	seen = tally{others: 1}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			err = o.readObject(decoder, depth)
		} else {
			err = o.readArray(decoder, depth)
		}
	case string:
		text = t
		if isEntry(t) {
			seen = tally{entries: 1}
		}
	case json.Number:
		text = t.String()
	case nil:
		seen = tally{nulls: 1}
	}
	o.add(seen)
	return text, seen, err
}

func (t *tally) add(seen tally) {
	t.entries += seen.entries
	t.nulls += seen.nulls
	t.others += seen.others
}

// readObject adds the members of an object.
func (o *outline) readObject(decoder *json.Decoder, depth int) error {
	o.objects++
	if o.members == nil {
		o.members = map[string]*outline{}
	}
	var members []member
	for decoder.More() {
		t, err := decoder.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string) // keys are strings
		if o.members[name] == nil {
			o.members[name] = &outline{}
			o.names = append(o.names, name)
		}
		text, _, err := o.members[name].read(decoder, depth+1)
		if err != nil {
			return err
		}
		members = append(members, member{name, text})
	}
	o.apart = addNew(o.apart, apartInObject(members))
	_, err := decoder.Token()
	return err
}

// readArray adds the entries of an array.
func (o *outline) readArray(decoder *json.Decoder, depth int) error {
	if o.items == nil {
		o.items = &outline{}
	}
	o.arrays++
	before := ""
	for i := 0; decoder.More(); i++ {
		text, seen, err := o.items.read(decoder, depth+1)
		if err != nil {
			return err
		}
		if i < maxColumns && i == len(o.columns) {
			o.columns = append(o.columns, tally{})
		}
		o.columns[min(i, maxColumns-1)].add(seen)
		if isBare(before) && (misreadLength([]byte(before), []byte(text), true) != nil ||
			isBare(text) && maskHint(before, text) != "") {
			o.rowsApart = addNew(o.rowsApart,
				[]string{fmt.Sprintf("[%d]", i-1), fmt.Sprintf("[%d]", i)})
		}
		before = text
	}
	_, err := decoder.Token()
	return err
}

// addNew adds the steps that a list lacks.
func addNew(list, steps []string) []string {
	for _, step := range steps {
		if !slices.Contains(list, step) && len(list) < maxColumns {
			list = append(list, step)
		}
	}
	return list
}

// isBare reports whether a text is an address without a length.
func isBare(text string) bool {
	return isAddressOrCIDR([]byte(text)) && !strings.Contains(text, "/")
}

// apartInObject returns the steps to addresses in an object, and to a member that turns one of them
// into a CIDR or a range; nil if it has none.
func apartInObject(members []member) (steps []string) {
	begins := slices.ContainsFunc(members, func(m member) bool {
		return isBare(m.text) && rangeNames[plainName([]byte(m.name))] != ""
	})
	end := slices.IndexFunc(members, func(m member) bool {
		name, number := plainName([]byte(m.name)), isDigits([]byte(m.text)) && m.text != "1"
		isLengthName, isEnd := slices.Contains(lengthNames, name), slices.Contains(endNames, name)
		isSize := slices.Contains(sizeNames, name) || begins && slices.Contains(countNames, name)
		return isLengthName && isLength([]byte(strings.TrimPrefix(m.text, "/"))) ||
			isLengthName && hasUnit([]byte(m.text)) || number && (isSize || begins && isEnd) ||
			isBare(m.text) && (isLengthName && isMask(m.text) || isEnd)
	})
	if end < 0 {
		return nil
	}
	more := members[end]
	for _, m := range members {
		if isBare(m.text) && m.name != more.name && m.text != more.text &&
			!isWholeLength([]byte(m.text), []byte(more.text)) {
			steps = append(steps, keyInPath(m.name))
		}
	}
	if len(steps) > 0 {
		steps = append(steps, keyInPath(more.name))
	}
	return steps
}

// addressPath is a path that leads to addresses.
type addressPath struct {
	steps []string // as a path has them: .name, [*] or .*
	nulls bool     // there are nulls beside the addresses
}

// text returns the path. Nulls are passed over by a filter. ok is false if no path can do that.
func (p addressPath) text() (text string, ok bool) {
	last := -1 // the last step that leads to many
	for i, step := range p.steps {
		if step == "[*]" || step == ".*" {
			last = i
		}
	}
	text = "$" + strings.Join(p.steps, "")
	if p.nulls {
		if last < 0 {
			return "", false
		}
		tail := strings.Join(p.steps[last+1:], "")
		text = "$" + strings.Join(p.steps[:last], "") + "[?@" + tail + "!=null]" + tail
	}
	_, err := parseSelect(text)
	return text, err == nil && printable(text) == text
}

// findings are what an outline has about addresses.
type findings struct {
	paths []addressPath
	mixed []addressPath // of addresses beside other values
	apart []addressPath // to what is one entry together
}

// maxFindings bounds each kind of findings in a value; a hint names a few of them.
const maxFindings = 100

// find looks for addresses below a value at a depth. inArray says that it stands in an array.
func (o *outline) find(depth int, inArray bool) (f findings) {
	for _, name := range o.names {
		step := keyInPath(name)
		if slices.Contains(o.apart, step) {
			f.apart = append(f.apart, addressPath{steps: []string{step}})
			continue
		}
		member := o.members[name]
		f.add(step, member.findHere())
		f.add(step, member.find(depth+1, inArray))
	}
	if !inArray && o.isCollection(depth) {
		if all, ok := o.findInAll(); ok {
			f = all
		}
	}
	for _, step := range o.rowsApart {
		f.apart = append(f.apart, addressPath{steps: []string{step}})
	}
	if o.items != nil && len(o.rowsApart) == 0 {
		var inItems findings
		if columns := o.addressColumns(inArray); columns != nil {
			inItems.paths = columns
		} else {
			inItems.add("[*]", o.items.findHere())
		}
		inItems.add("[*]", o.items.find(depth+1, true))
		if o.objects > 0 { // [*] would select all their members
			inItems.mixed, inItems.paths = append(inItems.mixed, inItems.paths...), nil
		}
		f.merge(inItems)
	}
	f.paths = f.paths[:min(len(f.paths), maxFindings)]
	f.mixed = f.mixed[:min(len(f.mixed), maxFindings)]
	f.apart = f.apart[:min(len(f.apart), maxFindings)]
	return f
}

// findHere looks for addresses among the values themselves.
func (o *outline) findHere() (f findings) {
	switch here := (addressPath{nulls: o.nulls > 0}); {
	case o.entries > 0 && o.others == 0:
		f.paths = []addressPath{here}
	case o.entries > 0:
		f.mixed = []addressPath{here}
	}
	return f
}

// add adds findings below a step.
func (f *findings) add(step string, below findings) {
	for _, paths := range [][]addressPath{below.paths, below.mixed, below.apart} {
		for i, p := range paths {
			paths[i].steps = append([]string{step}, p.steps...)
		}
	}
	f.merge(below)
}

func (f *findings) merge(other findings) {
	f.paths = append(f.paths, other.paths...)
	f.mixed = append(f.mixed, other.mixed...)
	f.apart = append(f.apart, other.apart...)
}

// isCollection reports whether an object's names are chosen by somebody, like those of hosts: it
// stands under a name or has many members, comes once, and no name says what an address is for.
func (o *outline) isCollection(depth int) bool {
	several := len(o.names) > maxPaths || len(o.names) > 1 && depth > 0
	hasMeaning := func(name string) bool {
		plain := plainName([]byte(name))
		return slices.Contains(entryNames, plain) || slices.Contains(endNames, plain) ||
			slices.Contains(lengthNames, plain) || rangeNames[plain] != "" || plain == "gateway"
	}
	return several && o.objects == 1 && o.items == nil && !slices.ContainsFunc(o.names, hasMeaning)
}

// findInAll looks for addresses that all members of an object have alike, but for nulls. ok is
// false if they differ, or are lists, which are kinds of addresses more often than names of hosts.
func (o *outline) findInAll() (all findings, ok bool) {
	same := func(a, b addressPath) bool { return slices.Equal(a.steps, b.steps) }
	nulls := false
	for _, name := range o.names {
		member := o.members[name]
		if member.nulls > 0 && member.entries+member.others == 0 {
			nulls = true
			continue
		}
		var f findings
		f.add(".*", member.findHere())
		f.add(".*", member.find(1, true))
		if len(f.paths) == 0 || len(f.mixed)+len(f.apart) > 0 || member.items != nil {
			return all, false
		}
		if len(all.paths) == 0 {
			all = f
		}
		if !slices.EqualFunc(f.paths, all.paths, same) {
			return all, false
		}
		for i, p := range f.paths {
			all.paths[i].nulls = all.paths[i].nulls || p.nulls
		}
	}
	for i, p := range all.paths {
		all.paths[i].nulls = p.nulls || nulls && len(p.steps) == 1
	}
	return all, len(all.paths) > 0
}

// addressColumns returns the indexes of the addresses in arrays that are rows of a table; nil if
// they aren't.
func (o *outline) addressColumns(inArray bool) (paths []addressPath) {
	if !inArray && o.arrays == 1 || o.items.others == 0 {
		return nil
	}
	for i, column := range o.columns {
		switch {
		case column.clean() && i < maxColumns-1:
			paths = append(paths, addressPath{steps: []string{fmt.Sprintf("[%d]", i)}})
		case column.entries > 0:
			return nil
		}
	}
	return paths
}

// isEntry reports whether a text can be an entry of a list.
func isEntry(text string) bool {
	var b address.Builder
	return addEntry(&b, []byte(text)) == nil
}
