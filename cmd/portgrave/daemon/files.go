package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// settle is how long files must be quiet before they are read: an editor, or a configuration
	// management, writes several.
	settle = 200 * time.Millisecond
	// longestSettle is how long that may put off a reading where there is no quiet.
	longestSettle = 2 * time.Second
)

// fileEvents are what tells that a file may say something else: it was closed by a writer, it came,
// went or was replaced, or others may read or write it. Not that somebody is writing: half a file
// says nothing.
const fileEvents = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM |
	unix.IN_CREATE | unix.IN_DELETE | unix.IN_ATTRIB |
	unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

// fileWatch tells when something in a list of folders has changed. Folders, not files, since files
// are replaced. It speaks to inotify(7) itself because packages that hide it also hide that a
// writer has closed a file.
type fileWatch struct {
	changed chan struct{}

	mu      sync.Mutex
	inotify int // the descriptor
	folders map[string]int
}

func watchFiles(ctx context.Context, log *slog.Logger) (*fileWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching files: %w", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	f := &fileWatch{changed: make(chan struct{}, 1), inotify: fd, folders: map[string]int{}}
	heard := make(chan bool, 1)
	go f.listen(events, heard)
	go func() {
		defer func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.inotify = -1
			_ = events.Close()
		}()
		f.gather(ctx, log, heard)
	}()
	return f, nil
}

// gather makes one change of many events that come together.
func (f *fileWatch) gather(ctx context.Context, log *slog.Logger, heard <-chan bool) {
	var quiet <-chan time.Time
	var first time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case lost, open := <-heard:
			if !open {
				if ctx.Err() == nil {
					log.Error("files are no longer watched: after a change, run portgrave reload")
				}
				return
			}
			if lost {
				log.Warn("notifications about files were lost; reading again")
			}
			if quiet == nil {
				first = time.Now()
			}
			quiet = time.After(min(settle, time.Until(first.Add(longestSettle))))
		case <-quiet:
			quiet = nil
			select {
			case f.changed <- struct{}{}:
			default: // one is waiting already
			}
		}
	}
}

// listen passes on that there were events, and whether some were lost.
func (f *fileWatch) listen(events *os.File, heard chan<- bool) {
	defer close(heard)
	buffer := make([]byte, 64<<10) // the kernel writes whole events
	for {
		n, err := events.Read(buffer)
		if err != nil {
			return
		}
		lost, any := false, false
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&buffer[at]))
			at += unix.SizeofInotifyEvent + int(e.Len)
			lost = lost || e.Mask&unix.IN_Q_OVERFLOW != 0
			any = any || e.Mask&unix.IN_IGNORED == 0
		}
		if any {
			heard <- lost
		}
	}
}

// add watches folders besides the others. Those that are not there are tried again the next time.
func (f *fileWatch) add(folders []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, dir := range folders {
		f.addOne(dir)
	}
}

func (f *fileWatch) addOne(dir string) {
	if f.inotify < 0 {
		return
	}
	watch, err := unix.InotifyAddWatch(f.inotify, dir, fileEvents)
	before, had := f.folders[dir]
	switch {
	case err != nil:
		delete(f.folders, dir)
	case !had:
		f.folders[dir] = watch
	case before != watch: // another folder stands there now
		f.folders[dir] = watch
		f.forget(before)
	}
}

// watch makes the list of folders the given one.
func (f *fileWatch) watch(folders []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	want := map[string]bool{}
	for _, dir := range folders {
		want[dir] = true
		f.addOne(dir)
	}
	for dir, watch := range f.folders {
		if !want[dir] {
			delete(f.folders, dir)
			f.forget(watch)
		}
	}
}

// forget ends a watch, unless the same folder is watched by another name.
func (f *fileWatch) forget(watch int) {
	for _, other := range f.folders {
		if other == watch {
			return
		}
	}
	if f.inotify >= 0 {
		_, _ = unix.InotifyRmWatch(f.inotify, uint32(watch)) // it may have ended by itself
	}
}

// unfinished are the files that were not read because somebody is still writing them.
type unfinished struct {
	mu    sync.Mutex
	files []string
	again time.Time // when another try may succeed by itself; zero if only the writers' end helps
}

// add is a policy.Files.Unfinished.
func (u *unfinished) add(path string, again time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files = append(u.files, path)
	if !again.IsZero() && (u.again.IsZero() || again.Before(u.again)) {
		u.again = again
	}
}

// due fires when it is time for another try.
func (u *unfinished) due() <-chan time.Time {
	if u == nil || u.again.IsZero() {
		return nil
	}
	return time.After(time.Until(u.again) + settle)
}

// reloadSignal is SIGHUP.
func reloadSignal() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}
