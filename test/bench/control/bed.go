package control

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/portgrave/portgrave/test/bench/cidrs"
)

// bed is what the contestants read: the lists of one family and size, as files for each of them.
type bed struct {
	family cidrs.Family
	size   int
	lists  cidrs.Lists
	dir    string
}

// The states of a list, which name files.
const (
	initial = "initial"
	one     = "one"
	percent = "percent"
	other   = "other"
)

// newBed writes the files below dir.
func newBed(dir string, family cidrs.Family, size int) (*bed, error) {
	b := &bed{family: family, size: size, lists: cidrs.New(family, size), dir: filepath.Join(dir, fmt.Sprintf("%s-%d", family, size))}
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return nil, err
	}
	l := b.lists
	files := map[string][]byte{
		"initial.nft": cidrs.NFT(family, l.Initial), "initial.ipset": cidrs.IPSet(family, l.Initial),
		"one.nft": cidrs.NFTChange(l.One, false), "one.ipset": cidrs.IPSetChange(l.One),
		"percent.nft": cidrs.NFTChange(l.Percent, false), "percent.ipset": cidrs.IPSetChange(l.Percent),
		"other.nft": cidrs.NFTChange(cidrs.Change{Add: l.Other}, true), "other.ipset": cidrs.IPSetReplace(family, l.Other),
	}
	for name, list := range map[string][]netip.Prefix{initial: l.Initial, one: l.WithOne, percent: l.Changed, other: l.Other} {
		files[name+".txt"], files[name+".yaml"] = cidrs.NetworkFile(list), []byte(cidrs.Policy(name+".txt"))
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
