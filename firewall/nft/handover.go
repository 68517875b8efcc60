package nft

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// The flags owner and persist can't be given to a table that stands, nor taken from it: the table
// has to be made anew, under the same name, while packets go on being judged. So a second table
// judges them meanwhile:
//
//	transaction            portgrave            portgrave-handover
//	load (several)         judges               sets, chains, rules; no base chain
//	enter                  base chains flushed  base chains: judges
//	delete                 gone                 judges
//	reload (several)       sets, chains         judges
//	leave                  judges               judges
//	flush, then delete     judges               gone
//
// At every moment at least one complete table judges, also if the process is killed: then the
// next apply or daemon finds the second table, completes the first one, and removes the second.
//
// Why each step is a transaction of its own:
//
//   - A new interval set goes live after the rules of its transaction, so sets are loaded before
//     anything looks them up.
//   - enter may switch both tables at once because the second one's hooks have a priority one
//     higher: a packet asks the first table first. If it met the first table's rules, it was
//     judged; if it met them flushed, the second table's are in force by the time it gets there.
//     The other order would let a packet pass between both, which is why leave doesn't flush.
//   - A packet under way still walks the rules of before. Its look-ups would miss in a map that is
//     deleted, and deny refuses what it can't find. So base chains are flushed in one transaction,
//     and the table is deleted in the next.
//
// The first table's counters stand still from enter on. They are read then, the second table's are
// read right before leave, and their sum is what the new counters begin with. Packets of the few
// milliseconds in which leave is loaded are not counted. What rates remember is lost.

// secondTable is the name of the table that judges packets during a hand-over.
const secondTable = "portgrave-handover"

type (
	// inTable is an op for another table than ours.
	inTable struct {
		table string
		op
	}
	// restoreCounter adds a counter that has counted before.
	restoreCounter struct {
		name  string
		value counter
	}
)

func (o inTable) what() string        { return o.op.what() + " of table " + o.table }
func (o restoreCounter) what() string { return "counter " + o.name }

// unwrapped is an op without the table that it is for.
func unwrapped(o op) op {
	if in, ok := o.(inTable); ok {
		return in.op
	}
	return o
}

func (e *encoder) restoreCounter(o restoreCounter, create uint16) {
	at := e.message(unix.NFT_MSG_NEWOBJ, create, o)
	e.String(unix.NFTA_OBJ_TABLE, e.table)
	e.String(unix.NFTA_OBJ_NAME, o.name)
	e.Uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	data := e.Nest(unix.NFTA_OBJ_DATA)
	e.Uint64(unix.NFTA_COUNTER_BYTES, o.value.Bytes)
	e.Uint64(unix.NFTA_COUNTER_PACKETS, o.value.Packets)
	e.EndNest(data)
	e.End(at)
}

// leftover is the second table of a hand-over that was interrupted.
type leftover struct{ baseChains []string }

// asLeftover is what to remove of a second table; nil if there is none that we wrote.
func (r *ruleset) asLeftover() *leftover {
	if !r.present || r.mark != tableMark {
		return nil
	}
	l := &leftover{}
	for _, name := range sortedKeys(r.chains) {
		if r.chains[name].hook != nil {
			l.baseChains = append(l.baseChains, name)
		}
	}
	return l
}

// removal takes the second table away, when the first one judges: transactions in order.
func (l *leftover) removal() [][]op {
	if l == nil {
		return nil
	}
	var flush []op
	for _, name := range l.baseChains {
		flush = append(flush, inTable{secondTable, flushChain{name}})
	}
	return [][]op{flush, {inTable{secondTable, delTable{}}}}
}

// handover is one change of a table's flags, as transactions.
type handover struct {
	load   [][]op // the second table, but for what judges
	enter  []op   // the second table judges from here on
	remove []op   // the first table
	reload [][]op // the first table, but for what judges and counts
	judge  []op   // and that, once counters are known
	leave  [][]op // the second table
}

// planHandover turns what it takes to make the table into what it takes to make it anew. have is
// the table as it stands. It is pure.
func planHandover(have, want *ruleset) handover {
	p := assemble(compare(want, newRuleset()), want, newRuleset())
	var h handover
	for _, batch := range chunks(p.prepare) {
		h.load = append(h.load, asSecond(batch))
	}
	h.enter = asSecond(p.switchOver)
	second := &leftover{}
	for _, name := range sortedKeys(have.chains) {
		if have.chains[name].hook != nil {
			h.enter = append(h.enter, flushChain{name})
		}
	}
	for _, name := range sortedKeys(want.chains) {
		if want.chains[name].hook != nil {
			second.baseChains = append(second.baseChains, name)
		}
	}
	h.remove = []op{delTable{}}
	var first []op
	for _, o := range p.prepare {
		switch o.(type) {
		case addCounter, addRule: // rules count
			h.judge = append(h.judge, o)
		default:
			first = append(first, o)
		}
	}
	h.reload = chunks(first)
	h.judge = append(h.judge, p.switchOver...)
	h.leave = second.removal()
	return h
}

// asSecond is a transaction for the second table, which has no flags and judges after the first.
func asSecond(batch []op) []op {
	out := make([]op, 0, len(batch))
	for _, o := range batch {
		switch x := o.(type) {
		case addTable:
			x.flags = 0
			o = x
		case addChain:
			if x.hook != nil {
				later := *x.hook
				later.Priority++
				x.hook = &later
				o = x
			}
		}
		out = append(out, inTable{secondTable, o})
	}
	return out
}

// counting is a transaction in which counters begin where others have ended.
func counting(batch []op, ended ...*ruleset) []op {
	out := slices.Clone(batch)
	for i, o := range out {
		add, ok := o.(addCounter)
		if !ok {
			continue
		}
		var sum counter
		for _, r := range ended {
			sum.Packets += r.counters[add.name].Packets
			sum.Bytes += r.counters[add.name].Bytes
		}
		out[i] = restoreCounter{add.name, sum}
	}
	return out
}

// HandOver implements firewall.Protector: it makes the table anew with the flags that Protect was
// asked for. After an error packets meet the rules of before or those of want; the next apply puts
// in order what is left.
func (b *Backend) HandOver(ctx context.Context, want firewall.State) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	have, err := b.look()
	if err != nil {
		return fmt.Errorf("table inet %s: %w", tableName, err)
	}
	if err := b.clearSecond(); err != nil {
		return err
	}
	use := layoutInUse(have, want.Services)
	use.limits = b.limits
	wanted := b.compile(want, b.now(), use)
	h := planHandover(have, wanted)
	b.forget()
	before, err := b.kernel.Generation()
	if err != nil {
		return err
	}
	t := transactions{kernel: b.kernel}
	if b.Bulk != nil && wanted.elements() >= bulkThreshold {
		done := b.Bulk()
		// If others have committed meanwhile, the number is not the kernel's, and they are heard
		// of.
		defer func() { done(before + t.generation) }()
	}
	if err := t.handOver(h); err != nil {
		return err
	}
	return b.handedOver(ctx, want)
}

// elements is how many elements the sets hold.
func (r *ruleset) elements() (n int) {
	for _, s := range r.sets {
		n += s.elements()
	}
	return n
}

// clearSecond removes a second table that was left behind, unless it is somebody else's.
func (b *Backend) clearSecond() error {
	second, err := b.kernel.second()
	if err != nil {
		return fmt.Errorf("table inet %s: %w", secondTable, err)
	}
	left := second.asLeftover()
	if second.present && left == nil {
		return fmt.Errorf(
			"table inet %s exists but was %w: remove it",
			secondTable,
			firewall.ErrForeign,
		)
	}
	for _, batch := range left.removal() {
		if err := b.kernel.commit(batch, 0); err != nil {
			return err
		}
	}
	return nil
}

// handedOver believes nothing before it was read back.
func (b *Backend) handedOver(ctx context.Context, want firewall.State) error {
	seen, err := b.Observe(ctx)
	if err != nil {
		return err
	}
	left, err := b.Diff(&want, seen, b.now())
	if err != nil {
		return err
	}
	if !left.InSync() {
		return fmt.Errorf(
			"handing over to a table with other flags: %w: %d differences, the first: %s",
			firewall.ErrNotHeld,
			left.Count(),
			left.Changes[0],
		)
	}
	return nil
}

// handOver sends a hand-over. It counts its commits in generation. Nothing in it depends on what
// others commit meanwhile: both tables are made from nothing.
func (t *transactions) handOver(h handover) error {
	send := func(batches ...[]op) error {
		for _, batch := range batches {
			if len(batch) == 0 {
				continue
			}
			if err := t.kernel.commit(batch, 0); err != nil {
				return fmt.Errorf("handing over to a table with other flags: %w", err)
			}
			t.generation++
		}
		return nil
	}
	if err := send(h.load...); err != nil {
		t.takeBack([]op{inTable{secondTable, delTable{}}}) // it judges nothing yet
		return err
	}
	if err := send(h.enter); err != nil {
		// The second table stays: if the answer was lost, it may be the one that judges.
		return err
	}
	first, err := t.kernel.counters()
	if err != nil {
		return err
	}
	first.counters = maps.Clone(first.counters)
	if err := send(h.remove); err != nil {
		return err
	}
	if err := send(h.reload...); err != nil {
		return err
	}
	second, err := t.kernel.second()
	if err != nil {
		return err
	}
	if err := send(counting(h.judge, first, second)); err != nil {
		return err
	}
	return send(h.leave...)
}
