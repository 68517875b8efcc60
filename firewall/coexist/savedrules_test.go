package coexist

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Shortened output of iptables-save, ipset save and nft list ruleset on a host with our rules.
const (
	savedPlain = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -m set --match-set friends src -j ACCEPT\nCOMMIT\n"
	savedOurs  = "*mangle\n:PREROUTING ACCEPT [0:0]\n:PORTGRAVE - [0:0]\n:PORTGRAVE-S-metrics - [0:0]\n-A PREROUTING -j PORTGRAVE\n" +
		"-A PORTGRAVE-S-metrics -m set --match-set PORTGRAVE-N4-metrics src -j RETURN\n-A PORTGRAVE-S-metrics -m set --match-set PORTGRAVE-U4-metrics src -j RETURN\nCOMMIT\n"
	savedFew  = "*mangle\n:PORTGRAVE-S-metrics - [0:0]\n-A PORTGRAVE-S-metrics -s 10.0.0.0/8 -j RETURN\nCOMMIT\n"
	savedSets = "create friends hash:ip family inet\ncreate PORTGRAVE-N4-metrics hash:net family inet hashsize 1024\nadd PORTGRAVE-N4-metrics 10.0.0.0/8\n"

	nftPlain  = "flush ruleset\ntable inet filter {\n\tflags \n\tchain input {\n\t\txt match set counter drop\n\t}\n}\n"
	nftFlags  = nftPlain + "table inet portgrave {\n\tflags \n\tcomment \"written by portgrave\"\n}\n"
	nftWell   = nftPlain + "table inet portgrave {\n\tset x {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t}\n}\n"
	nftXtable = "table ip mangle {\n\tchain PORTGRAVE-S-metrics {\n\t\txt match set counter packets 0 bytes 0 return\n\t}\n}\n"
)

func TestFindSavedRules(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string // for each finding: file, unit, and part of the text
	}{
		"nothing":            {nil, nil},
		"others' rules":      {map[string]string{"etc/iptables/rules.v4": savedPlain, "etc/nftables.conf": nftPlain}, nil},
		"ours, without sets": {map[string]string{"etc/iptables/rules.v4": savedFew}, nil},
		"ours": {map[string]string{"etc/iptables/rules.v4": savedOurs, "etc/iptables/rules.v6": savedPlain},
			[]string{"etc/iptables/rules.v4 netfilter-persistent.service names 2 ipsets, such as PORTGRAVE-N4-metrics, which are not made"}},
		"ours, and a set":  {map[string]string{"etc/iptables/rules.v4": savedOurs, "etc/iptables/ipsets": savedSets}, []string{"etc/iptables/rules.v4 netfilter-persistent.service names the ipset PORTGRAVE-U4-metrics, which is not made"}},
		"ours, and sets":   {map[string]string{"etc/iptables/rules.v4": savedOurs, "etc/iptables/ipsets": savedSets + "create PORTGRAVE-U4-metrics hash:net family inet timeout 0\n"}, nil},
		"others' sets":     {map[string]string{"etc/sysconfig/iptables": savedOurs, "etc/iptables/ipsets": savedSets}, []string{"etc/sysconfig/iptables iptables.service names 2 ipsets"}},
		"both of Red Hat":  {map[string]string{"etc/sysconfig/iptables": savedOurs, "etc/sysconfig/ip6tables": savedOurs}, []string{"etc/sysconfig/iptables iptables.service sed -i /PORTGRAVE/d", "etc/sysconfig/ip6tables ip6tables.service sed -i /PORTGRAVE/d"}},
		"nft, flags":       {map[string]string{"etc/nftables.conf": nftFlags}, []string{"etc/nftables.conf nftables.service had flags"}},
		"nft, well":        {map[string]string{"etc/nftables.conf": nftWell}, nil},
		"nft, iptables":    {map[string]string{"etc/sysconfig/nftables.conf": nftXtable}, []string{"etc/sysconfig/nftables.conf nftables.service which nft prints but doesn't read"}},
		"a very long line": {map[string]string{"etc/iptables/rules.v4": strings.Repeat("x", 2<<20) + "\n" + savedOurs}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := SavedFiles{
				Root:   t.TempDir(),
				Failed: func(unit string) bool { return unit == "iptables.service" },
			}
			for path, content := range c.files {
				writeFile(t, h, path, content)
			}
			found := h.Find()
			for i, x := range found {
				if i >= len(c.want) {
					t.Errorf("unexpected: %s", x)
					continue
				}
				file, rest, _ := strings.Cut(c.want[i], " ")
				unit, text, _ := strings.Cut(rest, " ")
				if x.File != filepath.Join(h.Root, file) || x.Unit != unit ||
					!strings.Contains(x.String(), text) ||
					!strings.HasPrefix(x.String(), x.File+" doesn't load at boot: ") {
					t.Errorf("%+v, want %s", x, c.want[i])
				}
				if failed := unit == "iptables.service"; x.Failed != failed ||
					strings.Contains(x.String(), unit+" has failed") != failed {
					t.Errorf("%+v: failed", x)
				}
			}
			if len(found) < len(c.want) {
				t.Errorf("found %d of %d", len(found), len(c.want))
			}
		})
	}
}

// Find does not block on a FIFO, and skips a folder.
func TestOnlyRegularFilesAreRead(t *testing.T) {
	h := SavedFiles{Root: t.TempDir()}
	writeFile(t, h, "etc/iptables/x", "")
	for path, make := range map[string]func(string) error{
		"etc/iptables/rules.v4": func(p string) error { return unix.Mkfifo(p, 0o600) },
		"etc/iptables/rules.v6": func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		if err := make(filepath.Join(h.Root, path)); err != nil {
			t.Fatal(err)
		}
	}
	if found := h.Find(); len(found) != 0 {
		t.Errorf("%+v", found)
	}
}

func TestWouldSave(t *testing.T) {
	for _, c := range []struct {
		files []string
		warns bool
	}{
		{nil, false},
		{[]string{netfilterPersistent}, true},
		{[]string{netfilterPersistent, ipsetPlugin}, false},
	} {
		t.Run(fmt.Sprint(c.files), func(t *testing.T) {
			h := SavedFiles{Root: t.TempDir()}
			for _, path := range c.files {
				writeFile(t, h, path, "#!/bin/sh\n")
			}
			if got := h.WouldSave(); (got != "") != c.warns {
				t.Errorf("%q", got)
			}
		})
	}
}

func writeFile(t *testing.T, h SavedFiles, path, content string) {
	t.Helper()
	path = filepath.Join(h.Root, path)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(content), 0o640)
	}
	if err != nil {
		t.Fatal(err)
	}
}
