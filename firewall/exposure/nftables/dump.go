package nftables

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
	kernel "github.com/portgrave/portgrave/firewall/netlink/nftables"
	"golang.org/x/sys/unix"
)

// Dump is the ruleset as the kernel sent it, undecoded: each object's attributes.
type Dump struct {
	At         time.Time // when it was read; elements' expiry counts from then
	Generation uint32
	Tables     []Object
	Chains     []Object
	Rules      []Object
	Sets       []Object
	Elements   map[SetName]*Elements
	// Cut are the sets whose elements weren't all read, as that would have taken too long.
	Cut        map[SetName]bool
	Objects    []Object
	Flowtables []Object
	// Hooks are the base chains at each hook in the order in which the kernel runs them, as far as
	// it told: one list a hook.
	Hooks [][]ChainName
}

// Object is one object's attributes, and the family of its table.
type Object struct {
	Family     exposure.Family
	Attributes []byte
}

// SetName names a set.
type SetName struct {
	Family      exposure.Family
	Table, Name string
}

// ChainName names a chain.
type ChainName struct {
	Family      exposure.Family
	Table, Name string
}

// errAbsent: the kernel has no nf_tables; nothing answers for the subsystem (nfnetlink_rcv_msg in
// net/netfilter/netlink.c).
var errAbsent = errors.New("this kernel has no nf_tables")

// attempts to read one generation whole. A dump of 10 000 rules takes some tens of milliseconds; a
// ruleset that changes faster than that, five times running, isn't going to stand still.
const attempts = 5

// Take reads everything, within one generation of the ruleset. It returns an error that says so if
// the ruleset keeps changing, and firewall.ErrPermission without CAP_NET_ADMIN.
func Take(ctx context.Context, conn *netlink.Conn) (*Dump, error) {
	rules := conn.Ruleset(ctx)
	if _, err := rules.Generation(); errors.Is(
		netlink.Unsupported("nf_tables", err),
		firewall.ErrUnsupported,
	) {
		return nil, fmt.Errorf("reading nf_tables: %w", errAbsent)
	}
	var d *Dump
	generation, err := netlink.OneGeneration(rules, attempts, func(uint32) (err error) {
		d, err = take(ctx, conn, maxWalked)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading nf_tables: %w", err)
	}
	d.Generation = generation
	return d, nil
}

// take reads everything. walked is maxWalked.
func take(ctx context.Context, conn *netlink.Conn, walked int) (*Dump, error) {
	d := &Dump{At: time.Now(), Elements: map[SetName]*Elements{}, Cut: map[SetName]bool{}}
	var err error
	for _, part := range []struct {
		kind uint8
		into *[]Object
	}{
		{unix.NFT_MSG_GETTABLE, &d.Tables}, {unix.NFT_MSG_GETCHAIN, &d.Chains}, {unix.NFT_MSG_GETSET, &d.Sets},
		{unix.NFT_MSG_GETOBJ, &d.Objects}, {unix.NFT_MSG_GETFLOWTABLE, &d.Flowtables}, {unix.NFT_MSG_GETRULE, &d.Rules},
	} {
		if err := ask(ctx, conn, part.kind, 0, nil, func(o Object) error {
			*part.into = append(*part.into, o)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	walk := &dumpWalk{left: walked, reserve: walked / 8}
	for _, s := range d.Sets {
		k, err := kernel.DecodeSet(s.Attributes)
		if err != nil {
			return nil, err
		}
		name := SetName{s.Family, k.Table, k.Name}
		d.Elements[name], err = elementsOf(ctx, conn, name, k, walk)
		if errors.Is(err, errTooLong) {
			d.Elements[name], d.Cut[name], err = nil, true, conn.Redial()
		}
		if err != nil {
			return nil, err
		}
	}
	if d.Hooks, err = hooks(ctx, conn, d.Chains); err != nil {
		return nil, err
	}
	return d, nil
}

// elementsOf dumps a set; one that is a hash table again and again until no element came twice.
func elementsOf(ctx context.Context, conn *netlink.Conn, name SetName, set kernel.Set,
	walk *dumpWalk) (read *Elements, err error) {
	hashed := set.Flags&unix.NFT_SET_INTERVAL == 0
	attributes := func(e *netlink.Encoder) {
		e.String(unix.NFTA_SET_ELEM_LIST_TABLE, name.Table)
		e.String(unix.NFTA_SET_ELEM_LIST_SET, name.Name)
	}
	if walk.cost = 2; hashed {
		walk.cost = 1
	}
	pause := func(d time.Duration) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return nil
		}
	}
	err = kernel.UntilNoneRepeats(pause, func() (twice bool, err error) {
		read, walk.before = NewElements(int(set.KeyLen)), 0
		r := netlink.Netfilter(unix.NFNL_SUBSYS_NFTABLES, unix.NFT_MSG_GETSETELEM,
			uint8(name.Family), unix.NLM_F_DUMP, attributes)
		err = conn.Ask(ctx, r, func(m netlink.Message) error {
			if err := walk.message(); err != nil {
				return err
			}
			read.Add(m.Attributes)
			walk.before = read.Len()
			return nil
		})
		return err == nil && hashed && read.repeats(), err
	})
	if err != nil {
		return nil, fmt.Errorf("set %s of table %s %s: %w", name.Name, name.Family, name.Table, err)
	}
	return read, nil
}

// maxWalked bounds what the kernel walks for all dumps of elements: for each message of 32 KiB it
// goes through all elements of those before. One of a hash table takes it some 25 ns; one of a tree
// of intervals twice that, so it counts as two, and 400 000 intervals take ten seconds. A million
// IPv6 addresses in eight hash tables, as Portgrave holds them, are 70 million steps.
const maxWalked = 96_000_000

// errTooLong: the elements that are still to come would take more than maxWalked.
var errTooLong = errors.New(tooLong)

const tooLong = "it has more elements than the kernel lists in a few seconds: whom it holds is not known"

// dumpWalk counts what the kernel walks.
type dumpWalk struct {
	left   int
	before int // elements of the dump's messages so far
	cost   int // of one element
	// reserve is what the next sets get when one was cut: most sets are small.
	reserve int
}

// message counts a message, before its elements are read.
func (w *dumpWalk) message() error {
	if w.left -= w.cost * w.before; w.left < 0 {
		w.left, w.reserve = w.reserve, w.reserve/2
		return errTooLong
	}
	return nil
}

// declaration is a set's name and its flags.
func declaration(set Object) (SetName, uint32, error) {
	k, err := kernel.DecodeSet(set.Attributes)
	return SetName{set.Family, k.Table, k.Name}, k.Flags, err
}

// ask dumps the objects of one kind. What the kernel sends is copied: the buffer is used again.
func ask(
	ctx context.Context,
	conn *netlink.Conn,
	kind, family uint8,
	attributes func(*netlink.Encoder),
	each func(Object) error,
) error {
	r := netlink.Netfilter(unix.NFNL_SUBSYS_NFTABLES, kind, family, unix.NLM_F_DUMP, attributes)
	return conn.Ask(ctx, r, func(m netlink.Message) error {
		return each(Object{exposure.Family(m.Family()), append([]byte(nil), m.Attributes...)})
	})
}
