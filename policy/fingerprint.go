package policy

import (
	"context"
	"io/fs"
	"path/filepath"
	"time"
)

// Fingerprint tells the versions of a file apart without reading them. Users can set the
// modification time but not the change time, so an edit shows even if it keeps the size and sets
// the modification time back.
type Fingerprint struct {
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // nanoseconds since 1970
	Changed  int64  `json:"changed"`  // the inode's change time, likewise
}

// settleTime is longer than the steps in which file systems count time: 4 to 10 ms of the kernel's
// clock, 2 s on FAT. Until a file's last change is that long ago, another change may leave the
// fingerprint as it is.
const settleTime = 2 * time.Second

func fingerprintOf(info fs.FileInfo) Fingerprint {
	p := Fingerprint{Size: info.Size(), Modified: info.ModTime().UnixNano()}
	if stat, ok := info.Sys().(*unixStat); ok {
		p.Device, p.Inode, p.Changed = uint64(stat.Dev), stat.Ino, stat.Ctim.Nano()
	}
	return p
}

// settled reports whether every change of the file after now will have another fingerprint. It is
// false while the file is young, and after the clock was set back.
func (p Fingerprint) settled(now time.Time) bool {
	return now.Sub(time.Unix(0, p.Changed)) > settleTime
}

// Fingerprints returns those of the network files that services use, by their absolute paths. It
// waits for writers and refuses files as reading them does; the errors are for programs, which read
// the files to hear what is wrong.
func (p *Policy) Fingerprints(ctx context.Context, files Files) (map[string]Fingerprint, error) {
	prints := map[string]Fingerprint{}
	for _, n := range p.used() {
		if n.file == "" {
			continue
		}
		path, err := filepath.Abs(n.file)
		if err != nil {
			return nil, err
		}
		err = files.read(ctx, n.file, trustAll, func(f wholeFile) error {
			prints[path] = f.print
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return prints, nil
}
