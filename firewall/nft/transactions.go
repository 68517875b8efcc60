package nft

import (
	"errors"

	"github.com/portgrave/portgrave/firewall/netlink"
)

// transactions sends a program, one transaction after the other, and takes back what it can should
// one of them fail.
type transactions struct {
	kernel  kernel
	program program
	// generation is the kernel's, as long as nobody else commits.
	generation uint32
}

// transactionKeys is how many elements of large sets one transaction of prepare carries: 1 MiB of
// IPv4, 2 MiB of IPv6. In one transaction, a million IPv6 sources would take 28 MB of ours and
// several times as much of the kernel's, and be no faster.
const transactionKeys = 64 << 10

// chunks cuts what is prepared in transactions. Nothing in it meets a packet, so it need not come
// at once.
func chunks(ops []op) [][]op {
	var out [][]op
	start, n := 0, 0
	for i, o := range ops {
		if add, ok := o.(addElements); ok {
			n += add.keys.Len()
		}
		if n >= transactionKeys || i == len(ops)-1 {
			out = append(out, ops[start:i+1])
			start, n = i+1, 0
		}
	}
	return out
}

func (t *transactions) run() error {
	p, done := t.program, 0
	for _, batch := range chunks(p.prepare) {
		err := t.commit(batch)
		if errors.Is(err, netlink.ErrNoAnswer) {
			t.takeBack(
				p.undo(p.prepare[:done+len(batch)]),
			) // if it was done; else this fails, and the next one does not
		}
		if err != nil {
			t.takeBack(p.undo(p.prepare[:done]))
			return err
		}
		done += len(batch)
	}
	undo := func() { t.takeBack(p.undo(p.prepare)) }
	if err := t.step(p.widen, undo); err != nil {
		return err
	}
	if len(p.widen) > 0 {
		undo = func() {
			t.takeBack(p.unwiden)
			t.takeBack(p.undo(p.prepare))
		}
	}
	if err := t.step(p.switchOver, undo); err != nil {
		return err
	}
	if len(p.switchOver) > 0 {
		// the new State is in force; what is left of the old one, the next apply removes
		undo = func() {}
	}
	for _, batch := range append([][]op{p.narrow}, p.retire...) {
		if err := t.step(batch, undo); err != nil {
			return err
		}
	}
	for _, batch := range p.leftover {
		if err := t.commit(batch); err != nil {
			return err
		}
	}
	return nil
}

// step commits what a packet can notice. An answer that was lost leaves it to the caller to look
// what was done.
func (t *transactions) step(batch []op, undo func()) error {
	err := t.commit(batch)
	if err != nil && !errors.Is(err, netlink.ErrNoAnswer) {
		undo()
	}
	return err
}

// commit sends a transaction that is done only if nobody else has committed since the one before:
// each makes one generation.
func (t *transactions) commit(batch []op) error {
	if len(batch) == 0 {
		return nil
	}
	err := t.kernel.commit(batch, t.generation)
	if err == nil {
		t.generation++
	}
	return err
}

// takeBack removes what was prepared for a switch that did not happen. Should it fail, the next
// observation sees what is left, which no packet meets, and the next apply removes it.
func (t *transactions) takeBack(ops []op) { _ = t.kernel.commit(ops, 0) }
