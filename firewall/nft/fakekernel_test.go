package nft

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"golang.org/x/sys/unix"
)

// fakeKernel is an in-memory nf_tables: transactions happen whole or not at all, and it refuses
// what the kernel refuses: names that exist or are missing, overlapping intervals, elements twice,
// objects in use, verdicts to chains that are not there, a wrong generation. Faults are injected by
// operation.
type fakeKernel struct {
	rules *ruleset
	// other is the second table.
	other *ruleset
	// fail is asked before the n-th commit (from 1); before makes it fail with nothing done,
	// after makes it report failure although everything was done.
	fail     func(n int) (before, after error)
	readFail func(n int) error
	// between runs before each commit, as another program would.
	between func(n int, k *fakeKernel)
	commits int
	reads   int
	// halfway is the ruleset before a transaction of others that counts already and isn't in use.
	halfway *ruleset
	// seen keeps the ruleset after every commit.
	seen []*ruleset
}

func newFakeKernel() *fakeKernel { return &fakeKernel{rules: newRuleset(), other: newRuleset()} }

// Generation counts up before a transaction of others is in use.
func (k *fakeKernel) Generation() (uint32, error) { return k.rules.generation, nil }

// Settle brings the transaction of others into use.
func (k *fakeKernel) Settle() error {
	k.halfway = nil
	return nil
}

// byOthers executes a transaction of another program. Until it is waited for, readers see one half
// of it.
func (k *fakeKernel) byOthers(batch []op, generation uint32) error {
	before := copyRuleset(k.rules)
	if err := k.commit(batch, generation); err != nil {
		return err
	}
	k.halfway = before
	return nil
}

func (k *fakeKernel) dump(*ruleset, uint32) (*ruleset, error) {
	k.reads++
	if k.readFail != nil {
		if err := k.readFail(k.reads); err != nil {
			return nil, err
		}
	}
	r := copyRuleset(k.rules)
	if k.halfway != nil { // the new table with its chains, the old sets and counters
		old := copyRuleset(k.halfway)
		r.sets, r.counters = old.sets, old.counters
	}
	r.readAt = time.Now()
	r.leftover = k.other.asLeftover()
	return r, nil
}

func (k *fakeKernel) second() (*ruleset, error) { return copyRuleset(k.other), nil }

func (k *fakeKernel) elements(s *set) (*set, error) {
	r, err := k.dump(nil, 0)
	if err != nil {
		return nil, err
	}
	fresh := r.sets[s.name]
	if fresh == nil {
		return nil, unix.ENOENT
	}
	return fresh, nil
}

func (k *fakeKernel) table() (*ruleset, error) { return k.dump(nil, 0) }

func (k *fakeKernel) counters() (*ruleset, error) { return k.dump(nil, 0) }

func (k *fakeKernel) dynamic() (*ruleset, error) { return k.dump(nil, 0) }

func (k *fakeKernel) commit(batch []op, generation uint32) error {
	if len(batch) == 0 {
		return nil
	}
	k.halfway = nil // one transaction waits for the other
	k.commits++
	if k.between != nil {
		k.between(k.commits, k)
	}
	var before, after error
	if k.fail != nil {
		before, after = k.fail(k.commits)
	}
	if before != nil {
		return before
	}
	if generation != 0 && generation != k.rules.generation {
		return firewall.ErrConflict
	}
	next, other := copyRuleset(k.rules), copyRuleset(k.other)
	for _, o := range batch {
		r := next
		if in, second := o.(inTable); second {
			r = other
			o = in.op
		}
		if err := r.execute(o); err != nil {
			return fmt.Errorf("%s: %w", o.what(), err)
		}
	}
	if err := errors.Join(next.checkReferences(), other.checkReferences()); err != nil {
		return err
	}
	next.generation++
	k.rules, k.other = next, other
	k.seen = append(k.seen, copyRuleset(next))
	return after
}

func copyRuleset(r *ruleset) *ruleset {
	c := *r
	c.chains, c.sets, c.counters = map[string]*chain{}, map[string]*set{}, maps.Clone(r.counters)
	for name, x := range r.chains {
		y := *x
		y.rules = slices.Clone(x.rules)
		c.chains[name] = &y
	}
	for name, x := range r.sets {
		y := *x
		y.spans, y.verdicts = slices.Clone(x.spans), maps.Clone(x.verdicts)
		y.keys = address.List{V4: slices.Clone(x.keys.V4), V6: slices.Clone(x.keys.V6)}
		c.sets[name] = &y
	}
	return &c
}

var errInUse = errors.New("in use")

func (r *ruleset) execute(o op) error {
	if _, ok := o.(addTable); !ok && !r.present {
		return unix.ENOENT
	}
	switch o := o.(type) {
	case addTable:
		r.present = true
		if r.mark == "" {
			r.mark, r.flags = o.mark, o.flags
		}
	case flagTable:
		r.flags = o.flags
	case delTable:
		generation := r.generation
		*r = *newRuleset()
		r.generation = generation
	case addCounter:
		if _, ok := r.counters[o.name]; !ok {
			r.counters[o.name] = counter{}
		}
	case restoreCounter:
		r.counters[o.name] = o.value
	case delObject:
		if _, ok := r.counters[o.name]; !ok {
			return unix.ENOENT
		}
		if r.refersAnywhere(o.name) {
			return errInUse
		}
		delete(r.counters, o.name)
	case addSet:
		if s := r.sets[o.name]; s != nil && s.spec != o.spec {
			return unix.EEXIST
		} else if s == nil {
			k, f := kindOf(o.spec)
			r.sets[o.name] = &set{
				name: o.name, kind: k, family: f, spec: o.spec, is: parseName(o.name),
			}
		}
	case delSet:
		if r.sets[o.name] == nil {
			return unix.ENOENT
		}
		if r.refersAnywhere(o.name) {
			return errInUse
		}
		delete(r.sets, o.name)
	case addChain:
		if c := r.chains[o.name]; c != nil && !c.hook.Equal(o.hook) {
			return unix.EEXIST
		} else if c == nil {
			r.chains[o.name] = &chain{name: o.name, hook: o.hook, is: parseName(o.name)}
		}
	case flushChain:
		if r.chains[o.name] == nil {
			return unix.ENOENT
		}
		r.chains[o.name].rules = nil
	case delChain:
		if r.chains[o.name] == nil {
			return unix.ENOENT
		}
		if len(r.chains[o.name].rules) > 0 || r.targeted(o.name) {
			return errInUse
		}
		delete(r.chains, o.name)
	case addRule:
		if r.chains[o.chain] == nil || slices.ContainsFunc(o.rule.Exprs, leadsNowhere(r)) {
			return unix.ENOENT
		}
		r.chains[o.chain].rules = append(r.chains[o.chain].rules, o.rule)
	case flushSet:
		s := r.sets[o.name]
		if s == nil {
			return unix.ENOENT
		}
		s.spans, s.keys, s.verdicts, s.unexpected, s.virtual = nil, address.List{}, nil, 0, nil
	case addElements:
		return r.addElements(o.elements)
	case delElements:
		return r.delElements(o.elements)
	default:
		return fmt.Errorf("unknown command %T", o)
	}
	return nil
}

func (r *ruleset) addElements(e elements) error {
	s := r.sets[e.set]
	if s == nil {
		return unix.ENOENT
	}
	if !slices.IsSortedFunc(e.spans, compareSpans) {
		return errors.New("not ascending: quadratic in the kernel")
	}
	if overlap(s.spans, e.spans) {
		return unix.EEXIST
	}
	s.spans = append(s.spans, e.spans...)
	sortSpans(s.spans)
	for i := 1; i < len(s.spans); i++ {
		if !s.spans[i-1].last.Less(s.spans[i].first) {
			return unix.EEXIST
		}
	}
	if s.verdicts == nil && len(e.verdicts) > 0 {
		s.verdicts = map[uint32]verdict{}
	}
	for _, v := range e.verdicts {
		if r.chains[v.verdict.Chain] == nil {
			return unix.ENOENT
		}
		if old, ok := s.verdicts[v.key]; ok && old != v.verdict {
			return unix.EEXIST
		}
		s.verdicts[v.key] = v.verdict
	}
	if add, _ := address.DiffLists(e.keys, s.keys); add.Len() != e.keys.Len() {
		return unix.EEXIST
	}
	s.keys = s.keys.Union(e.keys)
	if add, _ := diffVirtual(e.virtual, s.virtual); len(add) != len(e.virtual) {
		return unix.EEXIST
	}
	s.virtual = append(slices.Clone(s.virtual), e.virtual...)
	slices.SortFunc(s.virtual, firewall.VirtualService.Compare)
	if size := int(s.spec.Size); size > 0 && s.elements() > size {
		return unix.ENFILE
	}
	return nil
}

func (r *ruleset) delElements(e elements) error {
	s := r.sets[e.set]
	if s == nil {
		return unix.ENOENT
	}
	for _, x := range e.spans {
		i, ok := slices.BinarySearchFunc(s.spans, x, compareSpans)
		if !ok || s.spans[i].last != x.last {
			return unix.ENOENT
		}
		s.spans = slices.Delete(s.spans, i, i+1)
	}
	left, missing := address.DiffLists(s.keys, e.keys)
	if missing.Len() > 0 {
		return unix.ENOENT
	}
	s.keys = left
	staying, absent := diffVirtual(s.virtual, e.virtual)
	if len(absent) > 0 {
		return unix.ENOENT
	}
	s.virtual = staying
	for _, v := range e.verdicts {
		if _, ok := s.verdicts[v.key]; !ok {
			return unix.ENOENT
		}
		delete(s.verdicts, v.key)
	}
	return nil
}

func (r *ruleset) refersAnywhere(name string) bool {
	for _, c := range r.chains {
		for _, x := range c.rules {
			if refersTo(x, name) {
				return true
			}
		}
	}
	return false
}

func (r *ruleset) targeted(chain string) bool {
	for _, s := range r.sets {
		for _, v := range s.verdicts {
			if v.Chain == chain {
				return true
			}
		}
	}
	for _, c := range r.chains {
		for _, x := range c.rules {
			if refersTo(x, chain) {
				return true
			}
		}
	}
	return false
}

// checkReferences fails on rules that look up sets, count in counters or go to chains that are not
// there.
func (r *ruleset) checkReferences() error {
	for _, c := range r.chains {
		for _, x := range c.rules {
			for _, name := range references(x) {
				if r.sets[name] == nil && r.chains[name] == nil {
					if _, ok := r.counters[name]; !ok {
						return fmt.Errorf("chain %s refers to %s: %w", c.name, name, unix.ENOENT)
					}
				}
			}
		}
	}
	return nil
}
