package policy

import "fmt"

// minGuardedEntries is the shortest list that max_shrink protects. Administrators do remove half of
// a shorter list.
const minGuardedEntries = 20

// defaultMaxShrink is the share of its entries, in percent, that a list may lose from one reading
// to the next, unless the policy says otherwise.
const defaultMaxShrink = 50

// checkShrink refuses content that has lost more entries than max_shrink allows, because a broken
// download or a failed program leaves a short list that looks complete. It accepts content with the
// digest that the policy names, and a list that has the same addresses in fewer entries.
func (n *Networks) checkShrink(net *network, fresh, last *cached) error {
	if last == nil || n.AcceptShrunk || net.sha256 != "" {
		return nil
	}
	had := last.Entries
	if had > 0 && !tooFew(net, had, fresh.Entries) {
		return nil
	}
	old, err := last.content()
	if err != nil {
		return nil // damaged: nothing to compare with
	}
	if had == 0 { // written by a version that did not count; merged entries are at most that many
		had = old.Len()
	}
	if !tooFew(net, had, fresh.Entries) || old.Minus(fresh.prefixes).Len() == 0 {
		return nil
	}
	err = fmt.Errorf(
		"it has lost %d of its %d entries, and max_shrink allows %d%%; if that is right, run: "+
			"portgrave apply --force",
		had-fresh.Entries,
		had,
		net.maxShrink,
	)
	if net.file != "" {
		return fileError{net.file, err}
	}
	return err
}

// tooFew reports whether max_shrink forbids a list of had entries to shrink to has entries.
func tooFew(net *network, had, has int) bool {
	return had >= minGuardedEntries && 100*(had-has) > had*net.maxShrink
}
