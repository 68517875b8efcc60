package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long files must be quiet before they are read: an editor, or a configuration management, writes several.
const settle = 200 * time.Millisecond

// fileWatch tells when something in a list of folders has changed. Folders, not files, since files are replaced.
type fileWatch struct {
	changed chan struct{}
	watcher *fsnotify.Watcher
	folders map[string]bool
}

func watchFiles(ctx context.Context, log *slog.Logger) (*fileWatch, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching files: %w", err)
	}
	f := &fileWatch{changed: make(chan struct{}, 1), watcher: w, folders: map[string]bool{}}
	go func() {
		defer func() { _ = w.Close() }()
		var quiet <-chan time.Time
		for {
			select {
			case <-ctx.Done():
				return
			case e, open := <-w.Events:
				if !open {
					return
				}
				if !e.Has(fsnotify.Chmod) || e.Has(fsnotify.Write) {
					quiet = time.After(settle)
				}
			case err, open := <-w.Errors:
				if !open {
					return
				}
				log.Warn("notifications about files were lost; reading again", "error", err)
				quiet = time.After(settle)
			case <-quiet:
				quiet = nil
				select {
				case f.changed <- struct{}{}:
				default: // one is waiting already
				}
			}
		}
	}()
	return f, nil
}

// watch makes the list of folders the given one. Folders that are not there are tried again the next time.
func (f *fileWatch) watch(folders []string) {
	want := map[string]bool{}
	for _, dir := range folders {
		want[dir] = true
		if !f.folders[dir] && f.watcher.Add(dir) == nil {
			f.folders[dir] = true
		}
	}
	for dir := range f.folders {
		if _, err := os.Stat(dir); !want[dir] || err != nil { // gone: should it come back, it is another one
			_ = f.watcher.Remove(dir)
			delete(f.folders, dir)
		}
	}
}

// reloadSignal is SIGHUP.
func reloadSignal() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
