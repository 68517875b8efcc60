package policy

import (
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Folders lists the folders whose changes may change the policy: those of the policy's files, of
// network files, and of symbolic links that lead to them. For a missing folder it lists the nearest
// existing parent. p is the policy last read; nil if it could not be read.
func Folders(opts Options, p *Policy) []string {
	path := opts.Path
	if path == "" {
		path = DefaultPath
	}
	out := foldersOf(path)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		dropIns := filepath.Join(path, "policy.d")
		out = append(out, path)
		out = append(out, foldersOf(dropIns)...)
		if info, err := os.Stat(dropIns); err == nil && info.IsDir() {
			out = append(out, dropIns)
		}
		for _, dir := range []string{path, dropIns} {
			files, _ := os.ReadDir(dir) // an unreadable folder contributes no files
			for _, f := range files {
				if ext := filepath.Ext(f.Name()); ext == ".yaml" || ext == ".yml" {
					out = append(out, foldersOf(filepath.Join(dir, f.Name()))...)
				}
			}
		}
	}
	if p != nil {
		for _, n := range p.networks {
			if n.file != "" {
				out = append(out, foldersOf(n.file)...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// foldersOf lists the folders on whose names a path depends.
func foldersOf(path string) []string {
	w, _ := tracePath(path) // on error it still has the folders before
	return w.folders
}

// Refresh is the shortest interval after which external networks must be loaded again. It includes
// the host's own networks if the policy depends on them. It is 0 if nothing needs a refresh.
func (p *Policy) Refresh() time.Duration {
	var soonest time.Duration
	if p.needsConnected() {
		soonest = connectedRefresh
	}
	for _, n := range p.networks {
		if (n.url != "" || n.dns != "") && (soonest == 0 || n.refresh < soonest) {
			soonest = n.refresh
		}
	}
	return soonest
}
