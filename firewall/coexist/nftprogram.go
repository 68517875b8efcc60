// Package coexist knows the programs on this host whose work ours could spoil: what they can't
// print, and what they have saved. It only looks; nothing on the host is ever changed.
//
//   - nft before 1.1 can't name the table flag persist. It prints a ruleset with such a table so
//     that it can't read it again (NFTPrograms).
//   - iptables-restore loads nothing of a file that names an ipset which doesn't exist, and at boot
//     it runs before ours are made (SavedRules).
//
// Paths and programs are passed in, so that tests need not be the host.
package coexist

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// NFTPrograms are the nft programs of a host. It remembers what they said, and asks again when one
// of them was replaced. It is used by one goroutine at a time.
type NFTPrograms struct {
	// Folders are where to look for nft.
	Folders []string
	// Version is what a program says of itself ("nftables v1.0.6 (Lester Gooch #5)").
	Version func(path string) (string, error)

	known map[string]nftProgram
}

// nftProgram is a program at the time when it was asked.
type nftProgram struct {
	file   os.FileInfo
	reason string
}

// HostNFT are the nft programs of this host.
func HostNFT() *NFTPrograms {
	return &NFTPrograms{Folders: programFolders(os.Getenv("PATH")), Version: nftVersion}
}

// programFolders are those of a PATH, and those where distributions have nft: a service's PATH may
// lack them.
func programFolders(path string) []string {
	return append(filepath.SplitList(path),
		"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
}

// versionTimeout bounds how long a program may take to tell its version.
const versionTimeout = 5 * time.Second

func nftVersion(path string) (string, error) {
	ctx, stop := context.WithTimeout(context.Background(), versionTimeout)
	defer stop()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	return string(out), err
}

// CannotPrint says which program can't print a protected table, and why; "" if all of them can, or
// if there is none.
func (n *NFTPrograms) CannotPrint() string {
	asked := map[string]nftProgram{}
	defer func() { n.known = asked }()
	reason := ""
	for _, folder := range n.Folders {
		path := filepath.Join(folder, "nft")
		file, err := os.Stat(path)
		if err != nil || file.IsDir() || file.Mode()&0o111 == 0 || sameProgram(asked, file) {
			continue
		}
		p, known := n.known[path]
		if !known || !os.SameFile(p.file, file) || p.file.Size() != file.Size() ||
			!p.file.ModTime().Equal(file.ModTime()) {
			p = nftProgram{file, n.ask(path)}
		}
		asked[path] = p
		if reason == "" {
			reason = p.reason
		}
	}
	return reason
}

// sameProgram: /sbin is often a link to /usr/sbin.
func sameProgram(asked map[string]nftProgram, file os.FileInfo) bool {
	for _, p := range asked {
		if os.SameFile(p.file, file) {
			return true
		}
	}
	return false
}

func (n *NFTPrograms) ask(path string) string {
	said, err := n.Version(path)
	if err != nil {
		return fmt.Sprintf("%s doesn't tell its version (%v), so it may be one that can't print "+
			"a protected table", path, err)
	}
	major, minor, version := versionOf(said)
	switch {
	case version == "":
		return fmt.Sprintf("%s says %q, so it may be one that can't print a protected table",
			path, firstLine(said))
	case major < 1 || major == 1 && minor < 1:
		return fmt.Sprintf("nft %s (%s) can't print a protected table: what it saves would not load "+
			"again; it takes nft 1.1", version, path)
	}
	return ""
}

var versionWords = regexp.MustCompile(`\bv?((\d+)\.(\d+)[\w.]*)`)

func versionOf(said string) (major, minor int, version string) {
	m := versionWords.FindStringSubmatch(firstLine(said))
	if m == nil {
		return 0, 0, ""
	}
	major, _ = strconv.Atoi(m[2])
	minor, _ = strconv.Atoi(m[3])
	return major, minor, m[1]
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return first
}
