package policy

import (
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Folders are those whose files decide what the policy says: the policy's own, those of network
// files, and those of the symbolic links that lead to any of them. A change in one of them is
// reason to read again. Of what is not there, it is the last folder on the way that is. p is the
// policy last read; nil if it could not be.
func Folders(opts Options, p *Policy) []string {
	path := opts.Path
	if path == "" {
		path = DefaultPath
	}
	out := onTheWay(path)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		dropIns := filepath.Join(path, "policy.d")
		out = append(out, path)
		out = append(out, onTheWay(dropIns)...)
		if info, err := os.Stat(dropIns); err == nil && info.IsDir() {
			out = append(out, dropIns)
		}
		for _, dir := range []string{path, dropIns} {
			files, _ := os.ReadDir(dir) // what can't be listed has no policy files
			for _, f := range files {
				if ext := filepath.Ext(f.Name()); ext == ".yaml" || ext == ".yml" {
					out = append(out, onTheWay(filepath.Join(dir, f.Name()))...)
				}
			}
		}
	}
	if p != nil {
		for _, n := range p.networks {
			if n.file != "" {
				out = append(out, onTheWay(n.file)...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// onTheWay are the folders on whose names a path depends.
func onTheWay(path string) []string {
	w, _ := wayTo(path) // as far as it goes
	return w.folders
}

// Refresh is how soon what lives elsewhere wants to be loaded again: networks, and those that the
// host is part of, where they matter. 0 if nothing does by itself.
func (p *Policy) Refresh() time.Duration {
	var soonest time.Duration
	if p.asksConnected() {
		soonest = connectedRefresh
	}
	for _, n := range p.networks {
		if (n.url != "" || n.dns != "") && (soonest == 0 || n.refresh < soonest) {
			soonest = n.refresh
		}
	}
	return soonest
}
