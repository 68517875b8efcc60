package xt

import (
	"net/netip"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/pipeline"
)

// edits are elements that a set lacks, or has and should not have: all of them as long as they are
// few enough to be written one by one, then only how many, the first and the last. A set that
// changes that much is loaded anew.
type edits struct {
	n           int
	most        int  // that are kept
	kept        list // empty if there are more
	first, last element
}

func (e *edits) add(x element) {
	if e.n == 0 {
		e.first = x
	}
	e.last = x
	e.n++
	switch {
	case e.n <= e.most:
		e.kept.add(x)
	case e.n == e.most+1:
		e.kept = list{}
	}
}

// at is one of them: any if all are kept, else the first or the last.
func (e *edits) at(i int) element {
	switch i {
	case 0:
		return e.first
	case e.n - 1:
		return e.last
	}
	return e.kept.at(i)
}

// whole reports whether all of them are kept.
func (e *edits) whole() bool { return e.n <= e.most }

// summary is all elements but some as edits that people read.
func summary(all elements, but func(netip.Prefix) bool) edits {
	e := edits{most: pipeline.MaxListed}
	for x := range all.all() {
		if !but(x.prefix) {
			e.add(x)
		}
	}
	return e
}

// alwaysInPlace is the most edits that are made where the set stands whatever its size, one after
// the other: new elements first, so that no source that stays allowed is ever missing. If there are
// more, and more than half as many as the set has elements, a second set is loaded and swapped in:
// it takes about as long, and the kernel gives back what the old one had grown to.
const alwaysInPlace = pipeline.MaxListed

func maxInPlace(want elements) int { return max(alwaysInPlace, want.len()/2) }

// inPlace reports whether the set is to be changed where it stands.
func (c *contentDifference) inPlace() bool {
	return c.add.whole() && c.remove.whole() && c.add.n+c.remove.n <= maxInPlace(c.want.elements)
}

// diffElements walks over both once. Of each side it keeps as many edits as maxInPlace allows.
func diffElements(want elements, have *list, now time.Time) (add, remove edits) {
	add.most = maxInPlace(want)
	remove.most = add.most
	surplus := func(e element) {
		if !firewall.Ending(e.until, now) {
			remove.add(e)
		}
	}
	j, n := 0, have.len()
	for w := range want.all() {
		c := -1
		for ; j < n; j++ {
			h := have.at(j)
			if c = compareElements(w, h); c < 0 {
				break
			}
			if c == 0 {
				j++
				if !sameEnd(w.until, h.until, now) {
					add.add(w) // adding what is there changes its end
				}
				break
			}
			surplus(h)
		}
		if c != 0 && !firewall.Ending(w.until, now) {
			add.add(w)
		}
	}
	for ; j < n; j++ {
		surplus(have.at(j))
	}
	return add, remove
}

// sameEnd reports whether the kernel's end of an element will do. One further away than the kernel
// can hold is as good as the wanted one until half of its time is gone.
func sameEnd(want, have, now time.Time) bool {
	if !want.IsZero() && !have.IsZero() && want.Sub(now) > maxTimeout {
		return have.Sub(now) >= maxTimeout/2
	}
	return firewall.SameEnd(want, have)
}

// overlap reports whether two ascending lists share an address.
func overlap(a, b *list) bool {
	for i, j := 0, 0; i < a.len() && j < b.len(); {
		p, q := a.at(i).prefix, b.at(j).prefix
		if p.Overlaps(q) {
			return true
		}
		if p.Addr().Less(q.Addr()) {
			i++
		} else {
			j++
		}
	}
	return false
}
