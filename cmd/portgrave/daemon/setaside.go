package daemon

import (
	"context"
	"slices"

	"github.com/portgrave/portgrave/policy"
)

// A rollback, or the end of a trial, sets aside what lists hold: the generation in force records
// the digest of each, and as long as a list has that content, every service that uses it stays as
// it is in force. Other services are followed meanwhile. A list whose content changes is followed
// again, and apply and reload take all lists as they are.

// listsNow is a host.Local's Lists.
func (d *Daemon) listsNow(ctx context.Context, text []byte) map[string]string {
	_, c, err := d.ReadText(ctx, text, ReadOptions{Offline: true})
	if err != nil {
		return nil
	}
	return c.Lists
}

// releaseLists has those lists of the policy in force followed again that hold something else than
// what was set aside, and forgets those that it does not use.
func (d *Daemon) releaseLists(ctx context.Context, now *found) {
	if len(d.inForce.SetAside) == 0 || now == nil || now.err != nil {
		return
	}
	left := map[string]string{}
	for list, digest := range d.inForce.SetAside {
		if now.c.Lists[list] == digest || isStale(now.c, list) {
			left[list] = digest
		}
	}
	if len(left) < len(d.inForce.SetAside) {
		d.setAside(ctx, left)
	}
}

func isStale(c *policy.Compiled, list string) bool {
	return slices.ContainsFunc(c.Stale, func(n policy.StaleNetwork) bool { return n.Name == list })
}

// setAside records what is left of what the generation in force has set aside.
func (d *Daemon) setAside(ctx context.Context, left map[string]string) {
	err := d.Local.SetAside(ctx, d.inForce.Number, left)
	if err != nil {
		d.Log.Warn("which lists are followed again can't be recorded", "error", err)
	}
	d.inForce.SetAside = left
}

// asFollowed is the policy in force with its networks as they are to be followed: what uses a list
// that is set aside is as it is in force.
func (d *Daemon) asFollowed(now found) found {
	if len(d.inForce.SetAside) == 0 || now.err != nil {
		return now
	}
	c := *now.c
	c.State, c.Lists = d.inForce.KeepAside(c.State, c.Lists, now.p.ListsOf())
	now.c = &c
	return now
}
