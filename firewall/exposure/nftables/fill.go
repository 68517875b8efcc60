package nftables

import (
	"bytes"
	"slices"

	"github.com/portgrave/portgrave/firewall/exposure"
	"golang.org/x/sys/unix"
)

// fill writes the kernel's elements into the model's set.
func (v *variant) fill(l *elements) {
	s := v.out
	s.Unknown = l.broken
	if v.set.is(flagObject) {
		s.DataWidth = 0
	} else if !v.set.verdicts {
		s.DataWidth = len(v.data)
	}
	for _, c := range v.key {
		if c.n > 16 {
			s.Unknown = "a column of more than 16 bytes"
			return
		}
	}
	s.Keys = slices.Grow(s.Keys, s.Width*len(l.list))
	switch {
	case v.set.is(unix.NFT_SET_INTERVAL) && !v.set.is(flagConcat) && !hasLast(l.list):
		v.fillIntervals(l)
	default:
		for i := range l.list {
			if box, ok := v.box(&l.list[i]); ok {
				v.add(l, &l.list[i], box)
			}
		}
	}
	if l.catchall != nil {
		v.addCatchall(l)
	}
}

func hasLast(list []element) bool {
	return slices.ContainsFunc(list, func(e element) bool { return e.last != nil })
}

// box is the ranges of a key, or of a range of keys, column by column. False if the element can't
// be found with the constants that the registers hold.
func (v *variant) box(e *element) ([]exposure.Range, bool) {
	var room [4]exposure.Range
	box := room[:0]
	for _, c := range v.key {
		first := e.key[c.at : c.at+c.n]
		last := first
		if e.last != nil {
			last = e.last[c.at : c.at+c.n]
		}
		if c.fixed {
			if c.want < string(first) || c.want > string(last) {
				return nil, false
			}
			continue
		}
		from, _ := c.order.number(first)
		to, _ := c.order.number(last)
		if from != to && !c.order.same(network, c.n) {
			// The kernel compares bytes; of numbers in host order that is no range.
			v.out.Unknown = "ranges of numbers in host byte order"
			return nil, false
		}
		if to.Compare(from) < 0 {
			return nil, false // nothing lies between
		}
		box = append(box, exposure.Range{From: from, To: to})
	}
	return box, true
}

// fillIntervals pairs starts and ends. An interval runs from its start to just before the next
// start or end; the last one may have no end and then runs to the top. An end at zero, which nft
// writes when nothing begins there, ends nothing.
func (v *variant) fillIntervals(l *elements) {
	if len(v.key) != 1 || v.key[0].fixed {
		if len(l.list) > 0 {
			v.out.Unknown = "intervals over several columns"
		}
		return
	}
	col := v.key[0]
	top := bytes.Repeat([]byte{0xff}, registerBytes)
	edges := slices.Clone(l.list)
	slices.Reverse(edges) // the kernel lists the highest first
	slices.SortStableFunc(edges, func(a, b element) int {
		if c := bytes.Compare(a.key, b.key); c != 0 {
			return c
		}
		switch {
		case a.end == b.end:
			return 0
		case a.end:
			return -1
		}
		return 1
	})
	for i := range edges {
		e := &edges[i]
		if e.end || i > 0 && !edges[i-1].end && bytes.Equal(edges[i-1].key, e.key) {
			continue
		}
		next := i + 1
		for next < len(edges) && bytes.Equal(edges[next].key, e.key) {
			next++
		}
		first, last := e.key, top[:len(e.key)]
		if next < len(edges) {
			last, _ = before(edges[next].key) // which is higher than this one, so not zero
		}
		if !bytes.Equal(first, last) && !col.order.same(network, col.n) {
			v.out.Unknown = "ranges of numbers in host byte order"
			return
		}
		from, _ := col.order.number(first)
		to, _ := col.order.number(last)
		v.add(l, e, []exposure.Range{{From: from, To: to}})
	}
}

// add appends an element.
func (v *variant) add(l *elements, e *element, box []exposure.Range) {
	s := v.out
	if v.set.verdicts {
		verdict, ok := l.verdicts[e.index]
		if !ok {
			s.Unknown = "an element without a verdict"
			return
		}
		s.Verdicts = append(s.Verdicts, verdict)
	} else if s.DataWidth > 0 {
		row, ok := v.row(e)
		if !ok {
			s.Unknown = "an element whose data is of another length"
			return
		}
		s.Data = append(s.Data, row...)
	}
	if note, ok := l.notes[e.index]; ok && s.Width > 0 {
		if s.Notes == nil {
			s.Notes = map[int]exposure.Note{}
		}
		s.Notes[len(s.Keys)/s.Width] = note
	}
	s.Keys = append(s.Keys, box...)
}

// row is an element's data, column by column.
func (v *variant) row(e *element) ([]exposure.Value, bool) {
	var out []exposure.Value
	for _, c := range v.data {
		if c.at+c.n > len(e.data) {
			return nil, false
		}
		n, ok := c.order.number(e.data[c.at : c.at+c.n])
		if !ok {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}

// addCatchall adds what every key finds that finds nothing else: in a set a box that holds
// everything, in a map the default.
func (v *variant) addCatchall(l *elements) {
	s := v.out
	switch {
	case v.set.verdicts:
		if verdict, ok := l.verdicts[-1]; ok {
			s.Verdicts, s.Default = append(s.Verdicts, verdict), true
		}
	case s.DataWidth > 0:
		if row, ok := v.row(l.catchall); ok {
			s.Data, s.Default = append(s.Data, row...), true
		} else {
			s.Unknown = "an element whose data is of another length"
		}
	default:
		var box []exposure.Range
		for _, c := range v.key {
			if !c.fixed {
				box = append(box, exposure.Full(8*c.n))
			}
		}
		l.catchall.index = -1
		v.add(l, l.catchall, box)
	}
}
