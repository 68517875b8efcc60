package nft

import (
	"maps"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
)

// difference is what separates two rulesets, object by object. It is the basis of both what
// people are shown (changes) and what the kernel is sent (program).
type difference struct {
	want, have *ruleset

	rebuild bool // the table is missing or not ours: nothing of it can stay
	dormant bool // the table is asleep: its rules stand there and no packet meets them

	chainsGone, chainsNew, chainsMoved []*chain // moved: kept by name, but with another hook
	rulesChanged                       []chainRules
	setsGone, setsNew                  []*set
	setsReshaped                       []*set // declared differently: they can only be made anew
	content                            []setContent
	countersGone, countersNew          []string
	foreignObjects                     []foreignObject
	leftover                           *leftover // of a hand-over that was interrupted
}

// chainRules is a chain whose rules differ.
type chainRules struct {
	want *chain
	have []rule
}

// setContent is a set that stays, with elements that differ.
type setContent struct {
	want, have    *set
	add, remove   []span
	keysAdd       address.List
	keysGone      address.List
	virtualAdd    []firewall.VirtualService
	virtualGone   []firewall.VirtualService
	verdictsAdd   []portVerdict // new or pointing elsewhere, ascending
	verdictsGone  []portVerdict // as they are in the kernel, ascending
	replaceWholly bool          // holds elements we can't name: flush, then load
}

// compare finds every difference. It is pure; both rulesets stay as they are.
func compare(want, have *ruleset) difference {
	d := difference{rebuild: want.present != have.present || want.mark != have.mark && have.present}
	d.leftover = have.leftover
	if d.rebuild {
		have = newRuleset()
	}
	d.want, d.have = want, have
	d.dormant = have.flags&tableDormant != 0
	firewall.DiffMaps(want.chains, have.chains, func(_ string, w, h *chain) {
		switch {
		case w == nil && h.binding: // goes when its rule goes
			return
		case w == nil:
			d.chainsGone = append(d.chainsGone, h)
			return
		case h == nil:
			d.chainsNew = append(d.chainsNew, w)
			h = &chain{}
		case !w.hook.Equal(h.hook):
			d.chainsMoved = append(d.chainsMoved, w)
		}
		if !slices.EqualFunc(w.rules, h.rules, rule.Equal) {
			d.rulesChanged = append(d.rulesChanged, chainRules{w, h.rules})
		}
	})
	firewall.DiffMaps(want.sets, have.sets, func(_ string, w, h *set) {
		switch {
		case w == nil && h.anonymous: // goes when its rule goes
		case w == nil:
			d.setsGone = append(d.setsGone, h)
		case h == nil:
			d.setsNew = append(d.setsNew, w)
		case h.spec != w.spec:
			d.setsReshaped = append(d.setsReshaped, w)
		default:
			if c, differs := compareContent(w, h, want.readAt); differs {
				d.content = append(d.content, c)
			}
		}
	})
	firewall.DiffMaps(want.counters, have.counters, func(name string, _, _ counter) {
		_, wanted := want.counters[name]
		_, there := have.counters[name]
		switch {
		case !wanted:
			d.countersGone = append(d.countersGone, name)
		case !there:
			d.countersNew = append(d.countersNew, name)
		}
	})
	d.foreignObjects = have.foreignObjects
	return d
}

func compareContent(want, have *set, now time.Time) (setContent, bool) {
	c := setContent{want: want, have: have}
	if want.kind == kindDynamic || want.kind == kindAsked {
		return c, false
	}
	c.keysAdd, c.keysGone = address.DiffLists(want.keys, have.keys)
	c.add, c.remove = diffSpans(want.spans, have.spans)
	c.virtualAdd, c.virtualGone = diffVirtual(want.virtual, have.virtual)
	if want.kind == kindExpiring {
		ending := func(s span) bool { return firewall.Ending(s.until, now) }
		c.add, c.remove = slices.DeleteFunc(c.add, ending), slices.DeleteFunc(c.remove, ending)
	}
	if !maps.Equal(want.verdicts, have.verdicts) { // else no need to sort them
		firewall.DiffMaps(want.verdicts, have.verdicts, func(key uint32, w, h verdict) {
			_, wanted := want.verdicts[key]
			_, there := have.verdicts[key]
			if wanted && (!there || w != h) {
				c.verdictsAdd = append(c.verdictsAdd, portVerdict{key, w})
			}
			if there && (!wanted || w != h) {
				c.verdictsGone = append(c.verdictsGone, portVerdict{key, h})
			}
		})
	}
	c.replaceWholly = c.have.unexpected > 0
	differences := c.keysAdd.Len() + c.keysGone.Len() + len(c.add) + len(c.remove) +
		len(c.verdictsAdd) + len(c.verdictsGone) + len(c.virtualAdd) + len(c.virtualGone)
	return c, differences > 0 || c.replaceWholly
}

func sortedKeys[K interface {
	~string | ~uint32
}, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
