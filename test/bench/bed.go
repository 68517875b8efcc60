package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// bed is what the contestants read: the lists of one family and size, as files for each of them.
type bed struct {
	family Family
	size   int
	lists  Lists
	dir    string
}

// The states of a list, which name files.
const (
	listInitial = "initial"
	listOne     = "one"
	listPercent = "percent"
	listOther   = "other"
)

// newBed writes the files below dir.
func newBed(dir string, family Family, size int) (*bed, error) {
	b := &bed{
		family: family,
		size:   size,
		lists:  NewLists(family, size),
		dir:    filepath.Join(dir, fmt.Sprintf("%s-%d", family, size)),
	}
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return nil, err
	}
	l := b.lists
	files := map[string][]byte{
		"initial.nft": nftScript(
			family,
			l.Initial,
		), "initial.ipset": ipsetScript(family, l.Initial),
		"one.nft": nftChange(l.One, false), "one.ipset": ipsetChange(l.One),
		"percent.nft": nftChange(l.Percent, false), "percent.ipset": ipsetChange(l.Percent),
		"other.nft": nftChange(
			Change{Add: l.Other},
			true,
		), "other.ipset": ipsetReplace(family, l.Other),
	}
	for name, list := range map[string][]netip.Prefix{
		listInitial: l.Initial, listOne: l.WithOne, listPercent: l.Changed, listOther: l.Other,
	} {
		files[name+".txt"], files[name+".yaml"] = networkFile(list), []byte(listPolicy(name+".txt"))
	}
	for name, content := range files {
		if err := os.WriteFile(b.file(name), content, 0o600); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *bed) file(name string) string { return filepath.Join(b.dir, name) }

// fresh makes an empty folder.
func (b *bed) fresh() (string, error) { return os.MkdirTemp(b.dir, "state") }
