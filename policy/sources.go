package policy

import (
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Folders are those whose files decide what the policy says: the policy's own, and those of network files. A change
// in one of them is reason to read again. p is the policy last read; nil if it could not be.
func Folders(opts Options, p *Policy) []string {
	path := opts.Path
	if path == "" {
		path = DefaultPath
	}
	out := []string{path, filepath.Join(path, "policy.d")}
	if info, err := os.Stat(path); err != nil || !info.IsDir() { // a file, or nothing yet: its folder tells
		out = []string{filepath.Dir(path)}
	}
	if p != nil {
		for _, n := range p.networks {
			if n.file != "" {
				out = append(out, filepath.Dir(n.file))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Refresh is how soon what lives elsewhere wants to be loaded again: networks, and those that the host is part
// of, where they matter. 0 if nothing does by itself.
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
