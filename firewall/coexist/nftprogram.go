// Package coexist finds programs on this host that our rules could break: programs that can't print
// our tables, and programs that save rules in files that then don't load.
//
//   - nft before 1.1 can't name the table flag persist. It prints a ruleset with such a table so
//     that it can't read it again (NFTPrograms).
//   - iptables-restore rejects a whole file that names a missing ipset, and at boot it runs before
//     our ipsets are made (SavedRules).
//
// It never changes anything on the host. Paths and programs are passed in, so that tests don't
// depend on the host.
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

// NFTPrograms are the nft programs of a host. It caches their versions and asks again when a
// program was replaced. It must not be used concurrently.
type NFTPrograms struct {
	// Folders lists where to look for nft.
	Folders []string
	// Version returns the version that a program prints ("nftables v1.0.6 (Lester Gooch #5)").
	Version func(path string) (string, error)

	known map[string]nftProgram
}

// nftProgram is the cached answer of a program. file tells whether it was replaced since.
type nftProgram struct {
	file   os.FileInfo
	reason string
}

// HostNFT returns the nft programs of this host.
func HostNFT() *NFTPrograms {
	return &NFTPrograms{Folders: programFolders(os.Getenv("PATH")), Version: nftVersion}
}

// programFolders returns the folders in PATH and those where distributions install nft, because the
// PATH of a service may lack them.
func programFolders(path string) []string {
	return append(filepath.SplitList(path),
		"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
}

// versionTimeout bounds how long a program may take to print its version.
const versionTimeout = 5 * time.Second

func nftVersion(path string) (string, error) {
	ctx, stop := context.WithTimeout(context.Background(), versionTimeout)
	defer stop()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	return string(out), err
}

// CannotPrint says which program can't print a protected table, and why. It returns "" if all
// programs can, or if there are none.
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
			p = nftProgram{file, n.problemOf(path)}
		}
		asked[path] = p
		if reason == "" {
			reason = p.reason
		}
	}
	return reason
}

// sameProgram reports whether file was asked already; /sbin is often a link to /usr/sbin.
func sameProgram(asked map[string]nftProgram, file os.FileInfo) bool {
	for _, p := range asked {
		if os.SameFile(p.file, file) {
			return true
		}
	}
	return false
}

func (n *NFTPrograms) problemOf(path string) string {
	output, err := n.Version(path)
	if err != nil {
		return fmt.Sprintf("%s doesn't tell its version (%v), so it may be one that can't print "+
			"a protected table", path, err)
	}
	major, minor, version := versionOf(output)
	switch {
	case version == "":
		return fmt.Sprintf("%s says %q, so it may be one that can't print a protected table",
			path, firstLine(output))
	case major < 1 || major == 1 && minor < 1:
		return fmt.Sprintf("nft %s (%s) can't print a protected table: what it saves would not "+
			"load again; it takes nft 1.1", version, path)
	}
	return ""
}

var versionWords = regexp.MustCompile(`\bv?((\d+)\.(\d+)[\w.]*)`)

func versionOf(output string) (major, minor int, version string) {
	m := versionWords.FindStringSubmatch(firstLine(output))
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
