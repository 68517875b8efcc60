package nftables

import (
	"context"
	"errors"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// Read adds all of nf_tables to a ruleset: one generation of it, whole. conn's network namespace is
// the one that is read.
//
// Without CAP_NET_ADMIN nothing can be read, which is recorded as Missing and is no error. A kernel
// without nf_tables has nothing to add. A ruleset that keeps changing, a cancelled context, and
// answers that make no sense are errors; then nothing is added.
func Read(ctx context.Context, conn *netlink.Conn, rs *exposure.Ruleset, o Options) error {
	d, err := Take(ctx, conn)
	switch {
	case errors.Is(err, firewall.ErrPermission):
		rs.Missing = append(
			rs.Missing,
			exposure.Missing{What: "nf_tables", Why: "operation not permitted"},
		)
		return nil
	case errors.Is(err, errAbsent):
		return nil
	case err != nil:
		return err
	}
	tables, err := Decode(d, o)
	if err != nil {
		return err
	}
	for _, t := range tables {
		rs.AddTable(t)
	}
	for _, s := range d.Sets {
		if name, _, err := declaration(s); err == nil && d.Cut[name] {
			rs.Partly = append(
				rs.Partly,
				fmt.Sprintf("set %s %s %s: %s", name.Family, name.Table, name.Name, tooLong),
			)
		}
	}
	rs.MarkDynamic()
	return nil
}
