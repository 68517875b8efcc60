package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// rewriteSlowly rewrites a file in place: the first part, a pause, the rest.
func rewriteSlowly(
	t *testing.T,
	path, first, rest string,
	pause time.Duration,
) (done <-chan error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = f.WriteString(first)
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		time.Sleep(pause)
		_, err := f.WriteString(rest)
		ended <- errors.Join(err, f.Close())
	}()
	return ended
}

// TestWaitsForTheWriter checks that a file which is open for writing is read as a whole after its
// writer has closed it, both for a policy and for a list.
func TestWaitsForTheWriter(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Files = Files{Patience: time.Minute}
	path := filepath.Join(t.TempDir(), "list.txt")
	done := rewriteSlowly(t, path, "192.0.2.1\n10.0.0.0/8", "\n198.51.100.0/24\n",
		300*time.Millisecond)
	expect(
		t,
		"content",
		w.allowed(fmt.Sprintf(`{file: %q}`, path)),
		"10.0.0.0/8 192.0.2.1/32 198.51.100.0/24",
	)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var waited []string
	file := filepath.Join(makeFolder(t, nil), "policy.yaml")
	done = rewriteSlowly(t, file, "version: 1\n", "unlisted: deny\n", 300*time.Millisecond)
	p, err := Read(
		Options{
			Path: file,
			Files: Files{
				Patience: time.Minute,
				Waiting:  func(path string) { waited = append(waited, path) },
			},
		},
	)
	if err != nil || p.unlisted != "deny" || !slices.Equal(waited, []string{file}) {
		t.Errorf("read %+v, %v, after waiting for %q", p, err, waited)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestGivesUpOnAWriter checks that after Patience a policy is refused, a list keeps its last good
// content, and Unfinished is called.
func TestGivesUpOnAWriter(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	var unfinished []string
	files := Files{Patience: 50 * time.Millisecond, Unfinished: func(path string, again time.Time) {
		mu.Lock()
		defer mu.Unlock()
		unfinished = append(unfinished, filepath.Base(path))
		if !again.IsZero() {
			t.Errorf("%s is to be tried again at %v, though its writer is known", path, again)
		}
	}}
	w.Files = files
	dir := makeFolder(
		t,
		map[string]string{
			"policy.yaml":     "version: 1\n",
			"policy.d/a.yaml": "version: 1\n",
			"list.txt":        "192.0.2.1\n",
		},
	)
	list := filepath.Join(dir, "list.txt")
	n := fmt.Sprintf(`{file: %q}`, list)
	w.allowed(n)
	open := func(path string) io.Closer {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open(list)
	content, reason := w.stale(n)
	expect(t, "content", content, "192.0.2.1/32")
	expect(t, "reason", reason, list+`: a program still has it open for writing`)
	w.Dir = ""
	expect(t, "problem",
		w.refused(n), `policy.yaml:3:13: network "n": `+list+`: a program still has it open for writing`)
	f.Close()
	w.allowed(n)
	for _, name := range []string{"policy.yaml", "policy.d/a.yaml"} {
		f := open(filepath.Join(dir, name))
		_, err := Read(Options{Path: dir, Files: files})
		if want := filepath.Join(dir, name) +
			": a program still has it open for writing"; err == nil ||
			err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
		if o := ReadOutline(Options{Path: dir}); o.Complete {
			t.Errorf("the outline of a policy that is half written is complete: %+v", o)
		}
		f.Close()
	}
	expect(t, "unfinished", strings.Join(unfinished, " "), "list.txt list.txt policy.yaml a.yaml")
}

// TestWritersWaitForTheReader checks that a writer waits until the file was read.
func TestWritersWaitForTheReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.txt")
	write(t, path, "before")
	written := make(chan error, 1)
	err := Files{}.read(t.Context(), path, trustAll, func(f wholeFile) error {
		go func() { written <- os.WriteFile(path, []byte("after"), 0o600) }()
		select {
		case err := <-written:
			t.Errorf("written while it was read: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		content, err := io.ReadAll(f)
		expect(t, "content", string(content), "before")
		return err
	})
	if err := errors.Join(err, <-written); err != nil {
		t.Fatal(err)
	}
}

// fakeInfo is a file with given times.
type fakeInfo struct {
	fs.FileInfo
	written, changed time.Time
}

func (f fakeInfo) ModTime() time.Time { return f.written }
func (f fakeInfo) Sys() any {
	return &syscall.Stat_t{Ctim: syscall.NsecToTimespec(f.changed.UnixNano())}
}

// TestUnsettledFiles checks that the last write decides where no lease can be taken, and that a
// wrong clock doesn't exclude a file forever.
func TestUnsettledFiles(t *testing.T) {
	now := testClock()
	for name, c := range map[string]struct {
		written, changed time.Duration // relative to now
		young            time.Duration
	}{
		"just written":              {0, 0, 10 * time.Second},
		"written 2 s ago":           {-2 * time.Second, -2 * time.Second, 8 * time.Second},
		"written 10 s ago":          {-10 * time.Second, -10 * time.Second, 0},
		"old, and moved here":       {-time.Hour, 0, 0},
		"of the future, just now":   {time.Hour, -time.Second, 9 * time.Second},
		"of the future, long since": {time.Hour, -time.Minute, 0},
		"the clock was set back":    {time.Hour, time.Hour, 0},
	} {
		until := unsettledUntil(fakeInfo{written: now.Add(c.written), changed: now.Add(c.changed)},
			now)
		want := time.Time{}
		if c.young > 0 {
			want = now.Add(c.young)
		}
		if !until.Equal(want) {
			t.Errorf("%s: young until %v, want %v", name, until, want)
		}
	}
}

// TestFolderOfANetworkFile checks that a folder of a network file which others may write is
// refused, because they could put another list or a link there. So are the folders of links on the
// path.
func TestFolderOfANetworkFile(t *testing.T) {
	w := newWorld(t)
	dir := makeFolder(
		t,
		map[string]string{"lists/list.txt": "192.0.2.1\n", "data/list.txt": "192.0.2.1\n"},
	)
	lists, data := filepath.Join(dir, "lists"), filepath.Join(dir, "data")
	if err := errors.Join(os.Symlink("../data/list.txt", filepath.Join(lists, "link.txt")),
		os.Symlink("lists", filepath.Join(dir, "way"))); err != nil {
		t.Fatal(err)
	}
	for path, depends := range map[string][]string{
		"lists/list.txt": {lists}, "lists/link.txt": {lists, data}, "way/list.txt": {dir, lists}, "way/link.txt": {dir, lists, data},
	} {
		n := fmt.Sprintf(`{file: %q}`, filepath.Join(dir, path))
		for _, d := range []string{dir, lists, data} {
			for mode, bad := range map[os.FileMode]bool{0o755: false, 0o775: true, 0o757: true, 0o777 | os.ModeSticky: false} {
				if err := os.Chmod(d, mode); err != nil {
					t.Fatal(err)
				}
				w.Dir = filepath.Join(t.TempDir(), "networks")
				if bad = bad && slices.Contains(depends, d); !bad {
					expect(t, path, w.allowed(n), "192.0.2.1/32")
					continue
				}
				expect(
					t,
					path,
					w.refused(n),
					fmt.Sprintf(
						"%s: others than its owner may write it (mode %04o), so anybody could open ports; run: chmod go-w %[1]s",
						d,
						mode,
					),
				)
			}
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCheckOnlyWarns checks that a check reports what would be refused, and stores no content.
func TestCheckOnlyWarns(t *testing.T) {
	w := newWorld(t)
	dir := makeFolder(t,
		map[string]string{"policy.yaml": "version: 1\n", "lists/list.txt": "192.0.2.1\n"})
	for _, path := range []string{dir, filepath.Join(dir, "lists")} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "lists/list.txt")} {
		if err := os.Chmod(path, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var reported []string
	files := Files{
		Exposed: func(p Problem) { reported = append(reported, strings.ReplaceAll(p.File, dir, "DIR")) },
	}
	for _, path := range []string{dir, filepath.Join(dir, "policy.yaml")} {
		if _, err := Read(Options{Path: path}); err == nil {
			t.Errorf("%s is accepted", path)
		}
		if _, err := Read(Options{Path: path, Files: files}); err != nil {
			t.Error(err)
		}
	}
	n := fmt.Sprintf(`{file: %q}`, filepath.Join(dir, "lists/list.txt"))
	w.Files = files
	expect(t, "content", w.allowed(n), "192.0.2.1/32")
	expect(
		t,
		"warnings",
		strings.Join(reported, " "),
		"DIR DIR/policy.yaml DIR DIR/policy.yaml DIR/lists DIR/lists/list.txt",
	)
	w.Files = Files{}
	expectPart(t, w.refused(n), "chmod go-w")
}

// TestLinkedTextIsHidden checks that messages don't quote a file behind a link. They do quote a
// list that is not a link.
func TestLinkedTextIsHidden(t *testing.T) {
	dir := makeFolder(
		t,
		map[string]string{
			"secret": "root:$6$salt$hash:19000:0:99999:7:::\n-----BEGIN KEY-----\n5f4dcc3b5aa765d61d8327deb882cf99\n10.9.8.7/8\n",
		},
	)
	secret := filepath.Join(dir, "secret")
	if err := errors.Join(os.Symlink(secret, filepath.Join(dir, "soft")),
		os.Symlink(dir, filepath.Join(dir, "way"))); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	refusal := func(path string) string {
		return w.refused(fmt.Sprintf(`{file: %q}`, filepath.Join(dir, path)))
	}
	expectPart(
		t,
		refusal("secret"),
		`secret:1:1: "root:$6$salt$hash:19000:0:99999:7:::" is not an address or CIDR`,
	)
	check := func(path string) {
		t.Helper()
		got := refusal(path)
		expectPart(
			t,
			got,
			path+":1:1: this is not an address or CIDR (the text is not shown, since a link leads to it)\n",
		)
		for _, text := range []string{"root", "hash", "BEGIN", "5f4d", "10.9"} {
			if strings.Contains(got, text) {
				t.Errorf("%s: the text %q is in the message: %s", path, text, got)
			}
		}
	}
	check("soft")
	check("way/secret")
	if err := os.Link(secret, filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	check("hard")
}

// TestFolders checks that every folder which affects the policy is watched.
func TestFolders(t *testing.T) {
	dir := makeFolder(t, map[string]string{
		"etc/policy.yaml": "version: 1\nnetworks: {a: {file: lists/a.txt}, b: {file: way/b.txt}, c: {file: nowhere/deep/c.txt}}\n",
		"v1/b.txt":        "192.0.2.1\n", "etc/lists/a.txt": "192.0.2.1\n", "git/more.yaml": "version: 1\n",
	})
	etc := filepath.Join(dir, "etc")
	folders := func(opts Options, p *Policy) string {
		return strings.ReplaceAll(strings.Join(Folders(opts, p), " "), dir, "DIR")
	}
	for link, target := range map[string]string{"etc/way": "../current", "current": "v1", "way": "etc"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := Read(Options{Path: etc})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "without a policy", folders(Options{Path: etc}, nil), "DIR/etc")
	expect(t, "folders", folders(Options{Path: etc}, p), "DIR DIR/etc DIR/etc/lists DIR/v1")
	if err := errors.Join(os.Mkdir(filepath.Join(etc, "policy.d"), 0o755),
		os.Symlink("../../git/more.yaml", filepath.Join(etc, "policy.d/more.yaml"))); err != nil {
		t.Fatal(err)
	}
	expect(
		t,
		"with a drop-in that is a link",
		folders(Options{Path: etc}, nil),
		"DIR/etc DIR/etc/policy.d DIR/git",
	)
	expect(t, "one file", folders(Options{Path: filepath.Join(etc, "policy.yaml")}, nil), "DIR/etc")
	expect(
		t,
		"over a link",
		folders(Options{Path: filepath.Join(dir, "way/policy.yaml")}, nil),
		"DIR DIR/etc",
	)
	expect(
		t,
		"nothing there",
		folders(Options{Path: filepath.Join(dir, "x/y/policy.yaml")}, nil),
		"DIR",
	)
	if err := os.Symlink("loop", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	if _, err := tracePath(filepath.Join(dir, "loop")); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a link to itself: %v", err)
	}
}
