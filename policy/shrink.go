package policy

import "fmt"

// guardedEntries is the least number of entries from which on a list is held to max_shrink. Short
// lists lose half of their entries by the hand of an administrator.
const guardedEntries = 20

// defaultMaxShrink is the share of its entries, in percent, that a list may lose from one reading
// to the next unless the policy says otherwise.
const defaultMaxShrink = 50

// shrunk refuses content that has lost more of its entries than the network may: a download that
// broke off, or a program that failed, leaves a list that is short and looks whole. Content with
// the digest that the policy names is what was wanted, and so are the same addresses in fewer
// entries.
func (n *Networks) shrunk(net *network, fresh, last *cached) error {
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
	if had == 0 { // kept by a version that did not count; merged entries are no more than those written
		had = old.Len()
	}
	if !tooFew(net, had, fresh.Entries) || old.Minus(fresh.prefixes).Len() == 0 {
		return nil
	}
	err = fmt.Errorf(
		"it has lost %d of its %d entries, and max_shrink allows %d%%; if that is right, run: portgrave apply --force",
		had-fresh.Entries,
		had,
		net.maxShrink,
	)
	if net.file != "" {
		return Problems{{File: net.file, Message: fmt.Sprintf("network %q: %v", net.name, err)}}
	}
	return err
}

// tooFew reports whether a list that had so many entries may not have so few.
func tooFew(net *network, had, has int) bool {
	return had >= guardedEntries && 100*(had-has) > had*net.maxShrink
}
