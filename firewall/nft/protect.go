package nft

import (
	"context"
	"errors"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"golang.org/x/sys/unix"
)

// Flags of a table (include/uapi/linux/netfilter/nf_tables.h, enum nft_table_flags).
//
// A table with an owner can be changed only through the netlink socket that owns it: "nft flush
// ruleset" passes it over, and whatever names it fails with EPERM. It dies with its owner, unless
// it persists: then it stays, without an owner, until the next one adopts it. The flag persist
// (Linux 6.9) can only be given to a table as it is made. nft before 1.1 can't name it, and then
// prints a ruleset that it can't read itself; so a table gets it only if it is to be protected.
const (
	tableDormant = 1 // NFT_TABLE_F_DORMANT
	tableOwner   = 2 // NFT_TABLE_F_OWNER
	tablePersist = 4 // NFT_TABLE_F_PERSIST
)

var _ firewall.Protector = (*Backend)(nil)

// Protect implements firewall.Protector: the table becomes this socket's, now if it is there, and
// whenever it is made anew; or it becomes everybody's.
func (b *Backend) Protect(ctx context.Context, on bool) (firewall.Protection, error) {
	if err := ctx.Err(); err != nil {
		return firewall.Protection{}, err
	}
	b.flags = 0
	if on && b.canPersist {
		b.flags = tablePersist | tableOwner
	}
	const protected, owned = tablePersist | tableOwner, tableOwner
	r, err := b.kernel.table()
	switch {
	case err != nil:
		return firewall.Protection{}, fmt.Errorf("table inet %s: %w", tableName, err)
	case r.flags&tableOwner != 0 && r.owner != b.portID:
		return firewall.Protection{
			Reason: fmt.Sprintf("the table belongs to another process (netlink port %d)", r.owner),
		}, nil
	case on && !b.canPersist:
		return firewall.Protection{Reason: "this kernel can't (it takes Linux 6.9)"}, nil
	case !r.present && on:
		return firewall.Protection{Reason: "there are no rules to protect"}, nil
	case !r.present:
		return firewall.Protection{}, nil
	case r.mark != tableMark:
		return firewall.Protection{Reason: "the table was not written by Portgrave"}, nil
	case r.flags&protected == b.flags:
		return firewall.Protection{Protected: on}, nil
	case on && r.flags&tablePersist != 0:
		if err := b.kernel.commit([]op{flagTable{r.flags | owned}}, 0); err != nil {
			return firewall.Protection{}, fmt.Errorf("owning the table: %w", err)
		}
	default:
		return firewall.Protection{}, fmt.Errorf(
			"table inet %s: %w",
			tableName,
			firewall.ErrHandOver,
		)
	}
	if r, err = b.kernel.table(); err != nil {
		return firewall.Protection{}, fmt.Errorf("table inet %s: %w", tableName, err)
	}
	if r.flags&protected != b.flags || on && r.owner != b.portID {
		return firewall.Protection{}, fmt.Errorf("the flags of table inet %s: %w", tableName,
			firewall.ErrNotHeld)
	}
	return firewall.Protection{Protected: on}, nil
}

// canPersist asks whether the kernel knows owned tables that outlive their owner. The question is a
// transaction without its end: the kernel checks it, answers, and throws it away
// (net/netfilter/nfnetlink.c, nfnetlink_rcv_batch).
func (k *netlinkKernel) canPersist() bool {
	probe := []op{probeTable{tableOwner | tablePersist}}
	e, err := encodeBatch(probe, 0, k.socket.NextSequence(), k.now(), nil)
	if err != nil {
		return false
	}
	e.Buf = e.Buf[:e.finish]
	return k.outcome(e) == nil
}

// ownedByAnother explains an EPERM: the table has an owner, and that is another socket.
func (k *netlinkKernel) ownedByAnother(err error) error {
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	r, terr := k.table()
	port, perr := k.socket.Port()
	if terr != nil || perr != nil || r.flags&tableOwner == 0 || r.owner == port {
		return err
	}
	return fmt.Errorf("%w (netlink port %d)", firewall.ErrProtected, r.owner)
}
