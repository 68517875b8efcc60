package coexist

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// SavedRules is a file of saved rules that doesn't load at boot because ours are among them. Then
// the other rules in it are missing, and their ports open. Its JSON is part of status.
type SavedRules struct {
	File string `json:"file"`
	Unit string `json:"unit"` // the systemd unit that loads the file
	// Problem says why it doesn't load, and Mend what to do about it.
	Problem string `json:"problem"`
	Mend    string `json:"mend"`
	// Failed is true if the unit has failed since the system started.
	Failed bool `json:"failed"`
}

// String describes the problem for people.
func (s SavedRules) String() string {
	failed := ""
	if s.Failed {
		failed = "; " + s.Unit + " has failed, so the other rules in it are not in force"
	}
	return fmt.Sprintf("%s doesn't load at boot: %s%s: %s", s.File, s.Problem, failed, s.Mend)
}

// SavedFiles finds the files of a host from which rules are loaded at boot.
type SavedFiles struct {
	// Root is the folder that holds etc and usr: "/" on a host.
	Root string
	// Failed reports whether a systemd unit has failed; nil on a host without systemd.
	Failed func(unit string) bool
}

// HostFiles returns the SavedFiles of this host.
func HostFiles() SavedFiles {
	h := SavedFiles{Root: "/"}
	if _, err := os.Stat("/run/systemd/system"); err == nil { // sd_booted(3)
		h.Failed = unitFailed
	}
	return h
}

// unitTimeout bounds how long systemctl may take.
const unitTimeout = 2 * time.Second

func unitFailed(unit string) bool {
	ctx, stop := context.WithTimeout(context.Background(), unitTimeout)
	defer stop()
	return exec.CommandContext(ctx, "systemctl", "is-failed", "--quiet", unit).Run() == nil
}

// savedFile is a file that a unit loads at boot. ipsets is the file of ipsets loaded before it.
type savedFile struct{ path, unit, ipsets string }

// iptablesFiles and nftablesFiles list where Debian (iptables-persistent and ipset-persistent) and
// Red Hat (iptables-services and ipset-service) save rules.
var (
	iptablesFiles = []savedFile{
		{"etc/iptables/rules.v4", "netfilter-persistent.service", "etc/iptables/ipsets"},
		{"etc/iptables/rules.v6", "netfilter-persistent.service", "etc/iptables/ipsets"},
		{"etc/sysconfig/iptables", "iptables.service", "etc/sysconfig/ipset"},
		{"etc/sysconfig/ip6tables", "ip6tables.service", "etc/sysconfig/ipset"},
	}
	nftablesFiles = []savedFile{
		{path: "etc/nftables.conf", unit: "nftables.service"},
		{path: "etc/sysconfig/nftables.conf", unit: "nftables.service"},
	}
)

// Find looks through the files. It skips files that it can't read, because unprivileged users may
// ask for the status too.
func (h SavedFiles) Find() []SavedRules {
	found := []SavedRules{}
	add := func(f savedFile, problem, mend string) {
		path := filepath.Join(h.Root, f.path)
		failed := h.Failed != nil && h.Failed(f.unit)
		mend = strings.ReplaceAll(mend, "FILE", path)
		found = append(found, SavedRules{path, f.unit, problem, mend, failed})
	}
	for _, f := range iptablesFiles {
		if missing := h.missingSets(f); len(missing) > 0 {
			add(f, missingText(missing)+" not made before Portgrave's start",
				"take Portgrave's lines out, which it makes itself: sed -i /PORTGRAVE/d FILE")
		}
	}
	for _, f := range nftablesFiles {
		switch flags, xt := h.unreadable(f); {
		case flags:
			add(f, "it was saved while table inet portgrave had flags that this nft couldn't print",
				"save the rules again: portgrave status tells whether nft can print them")
		case xt:
			add(
				f,
				"it holds Portgrave's iptables rules, which nft prints but doesn't read",
				"take the chains PORTGRAVE* and their jumps out, or use --backend nftables and "+
					"save the rules again",
			)
		}
	}
	return found
}

func missingText(sets []string) string {
	if len(sets) == 1 {
		return "it names the ipset " + sets[0] + ", which is"
	}
	return fmt.Sprintf("it names %d ipsets, such as %s, which are", len(sets), sets[0])
}

var (
	setReference = regexp.MustCompile(`--(?:match|add|del|map)-set (PORTGRAVE-\S+)`)
	setCreation  = regexp.MustCompile(`^create (PORTGRAVE-\S+) `)
)

// missingSets returns our ipsets that a file uses and that no earlier file creates, in the order of
// the file.
func (h SavedFiles) missingSets(f savedFile) (missing []string) {
	made := map[string]bool{}
	h.lines(f.ipsets, func(line string) {
		if m := setCreation.FindStringSubmatch(line); m != nil {
			made[m[1]] = true
		}
	})
	h.lines(f.path, func(line string) {
		for _, m := range setReference.FindAllStringSubmatch(line, -1) {
			if !made[m[1]] && !slices.Contains(missing, m[1]) {
				missing = append(missing, m[1])
			}
		}
	})
	return missing
}

// unreadable reports whether a ruleset printed by nft has lines of ours that nft can't read: flags
// without a word in our table, or an iptables match in one of our chains.
func (h SavedFiles) unreadable(f savedFile) (flags, xt bool) {
	table, chain := "", ""
	h.lines(f.path, func(line string) {
		words := strings.Fields(line)
		switch {
		case len(words) > 2 && words[0] == "table":
			table, chain = words[2], ""
		case len(words) > 1 && words[0] == "chain":
			chain = words[1]
		case strings.HasPrefix(table, "portgrave") && len(words) == 1 && words[0] == "flags":
			flags = true
		case strings.HasPrefix(chain, "PORTGRAVE") && strings.Contains(line, "xt match "):
			xt = true
		}
	})
	return flags, xt
}

// maxSavedFileBytes bounds how much of a file is read, because other programs write it.
const maxSavedFileBytes = 256 << 20

func (h SavedFiles) lines(path string, each func(line string)) {
	if path == "" {
		return
	}
	path = filepath.Join(h.Root, path)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return // reading a pipe would block
	}
	file, err := os.Open(path)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }()
	s := bufio.NewScanner(io.LimitReader(file, maxSavedFileBytes))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		each(s.Text())
	}
}

// netfilterPersistent saves rules in files that SavedFiles looks at. With ipsetPlugin it saves
// ipsets too.
const (
	netfilterPersistent = "usr/sbin/netfilter-persistent"
	ipsetPlugin         = "usr/share/netfilter-persistent/plugins.d/10-ipset"
)

// WouldSave warns if netfilter-persistent may save iptables rules of ours so that they don't load
// at boot. It returns "" otherwise.
func (h SavedFiles) WouldSave() string {
	exists := func(path string) bool {
		_, err := os.Stat(filepath.Join(h.Root, path))
		return err == nil
	}
	if !exists(netfilterPersistent) || exists(ipsetPlugin) {
		return ""
	}
	return "netfilter-persistent saves iptables rules without ipsets, so if it saves these, " +
		"nothing that it has saved loads at boot: after netfilter-persistent save, run sed -i " +
		"/PORTGRAVE/d /etc/iptables/rules.v4 /etc/iptables/rules.v6; or use --backend nftables"
}
