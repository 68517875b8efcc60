package nftables

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/nfnetlink"
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
	Elements   map[SetName][][]byte
	Objects    []Object
	Flowtables []Object
	// Hooks are the base chains at each hook in the order in which the kernel runs them, as far as it told: one list a hook.
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

// errChanged: the ruleset isn't the one that the dump began with.
var errChanged = errors.New("the ruleset changed while it was read")

// errAbsent: the kernel has no nf_tables; nothing answers for the subsystem (nfnetlink_rcv_msg in net/netfilter/nfnetlink.c).
var errAbsent = errors.New("this kernel has no nf_tables")

// attempts to read one generation whole. A dump of 10 000 rules takes some tens of milliseconds; a ruleset that changes
// faster than that, five times running, isn't going to stand still.
const attempts = 5

// Take reads everything, within one generation of the ruleset. It returns an error that says so if the ruleset keeps changing, and wraps the kernel's
// refusals: EPERM without CAP_NET_ADMIN.
func Take(ctx context.Context, conn *nfnetlink.Conn) (*Dump, error) {
	var err error
	for range attempts {
		var d *Dump
		if d, err = take(ctx, conn); err == nil {
			return d, nil
		}
		if !errors.Is(err, errChanged) && !errors.Is(err, nfnetlink.ErrInterrupted) && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("reading nf_tables: %w", err)
		}
	}
	return nil, fmt.Errorf("reading nf_tables: given up after %d attempts: %w", attempts, err)
}

func take(ctx context.Context, conn *nfnetlink.Conn) (*Dump, error) {
	d := &Dump{At: time.Now(), Elements: map[SetName][][]byte{}}
	var err error
	if d.Generation, err = generation(ctx, conn); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, errAbsent
	} else if err != nil {
		return nil, err
	}
	if err := conn.Settle(unix.NFNL_SUBSYS_NFTABLES); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		kind uint8
		into *[]Object
	}{
		{unix.NFT_MSG_GETTABLE, &d.Tables}, {unix.NFT_MSG_GETCHAIN, &d.Chains}, {unix.NFT_MSG_GETSET, &d.Sets},
		{unix.NFT_MSG_GETOBJ, &d.Objects}, {unix.NFT_MSG_GETFLOWTABLE, &d.Flowtables}, {unix.NFT_MSG_GETRULE, &d.Rules},
	} {
		if err := ask(ctx, conn, part.kind, 0, nil, func(o Object) { *part.into = append(*part.into, o) }); err != nil {
			return nil, err
		}
	}
	for _, s := range d.Sets {
		name, err := setNameOf(s)
		if err != nil {
			return nil, err
		}
		attributes := nfnetlink.AppendString(nil, unix.NFTA_SET_ELEM_LIST_TABLE, name.Table)
		attributes = nfnetlink.AppendString(attributes, unix.NFTA_SET_ELEM_LIST_SET, name.Name)
		if err := ask(ctx, conn, unix.NFT_MSG_GETSETELEM, uint8(name.Family), attributes, func(o Object) {
			d.Elements[name] = append(d.Elements[name], o.Attributes)
		}); err != nil {
			return nil, err
		}
	}
	if d.Hooks, err = hooks(ctx, conn, d.Chains); err != nil {
		return nil, err
	}
	after, err := generation(ctx, conn)
	if err != nil {
		return nil, err
	}
	if after != d.Generation {
		return nil, errChanged
	}
	return d, nil
}

func setNameOf(o Object) (SetName, error) {
	a, err := nfnetlink.Parse(o.Attributes)
	return SetName{o.Family, a.String(unix.NFTA_SET_TABLE), a.String(unix.NFTA_SET_NAME)}, err
}

// ask dumps the objects of one kind. What the kernel sends is copied: the buffer is used again.
func ask(ctx context.Context, conn *nfnetlink.Conn, kind, family uint8, attributes []byte, each func(Object)) error {
	r := nfnetlink.Request{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: kind, Family: family, Attributes: attributes, Dump: true}
	return conn.Ask(ctx, r, func(m nfnetlink.Message) error {
		each(Object{exposure.Family(m.Family), append([]byte(nil), m.Attributes...)})
		return nil
	})
}

func generation(ctx context.Context, conn *nfnetlink.Conn) (uint32, error) {
	var n uint32
	err := conn.Ask(ctx, nfnetlink.Request{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Kind: unix.NFT_MSG_GETGEN}, func(m nfnetlink.Message) error {
		a, err := nfnetlink.Parse(m.Attributes)
		n = uint32(a.Number(unix.NFTA_GEN_ID))
		return err
	})
	return n, err
}
