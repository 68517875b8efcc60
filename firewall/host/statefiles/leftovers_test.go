package statefiles

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// TestKilledWriter: what a killed process was writing goes with the next Write in the folder, and
// what a living one writes, or somebody else has put there, stays.
func TestKilledWriter(t *testing.T) {
	if dir := os.Getenv("WRITE_TO"); dir != "" { // the process that is killed
		err := Write(filepath.Join(dir, "000002.generation"), func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Repeat("x", 1<<20))
			time.Sleep(time.Hour)
			return err
		})
		t.Fatal(err)
	}
	dir := t.TempDir()
	const earlier = ".000009.generation4711" // as earlier versions left it, without a lock
	for _, name := range []string{".nfs0001", ".gitignore", "000001.generation", earlier} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
	cmd.Env = append(os.Environ(), "WRITE_TO="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	written := func() (name string) {
		for _, n := range names(t, dir) {
			info, err := os.Lstat(filepath.Join(dir, n))
			if strings.HasPrefix(n, ".000002.generation") && err == nil && info.Size() == 1<<20 {
				return n
			}
		}
		return ""
	}
	for i := 0; written() == "" && i < 1000; i++ {
		time.Sleep(10 * time.Millisecond)
	}
	temporary := written()
	if temporary == "" {
		t.Fatalf("it does not write: %v", names(t, dir))
	}
	if err := Write(filepath.Join(dir, "000003.generation"), Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	want := []string{".gitignore", ".nfs0001", "000001.generation", "000003.generation"}
	if got := names(t, dir); !slices.Equal(got, slices.Insert(slices.Clone(want), 0, temporary)) {
		t.Errorf("while it writes: %v", got)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	Clean(filepath.Dir(dir)) // the folder above
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("after it was killed: %v", got)
	}
}

// TestWritersBesideEachOther: cleaning up never takes away what another one is about to write.
func TestWritersBesideEachOther(t *testing.T) {
	dir := t.TempDir()
	done := make(chan error)
	const writers, times = 8, 200
	for range writers {
		go func() {
			var err error
			for range times {
				err = errors.Join(
					err,
					Write(filepath.Join(dir, "a.lease"), Bytes([]byte("content"))),
				)
			}
			done <- err
		}()
	}
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if b, err := Read(filepath.Join(dir, "a.lease")); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"a.lease"}) {
		t.Error(got)
	}
}

// TestFailedWrite leaves nothing, and what was there.
func TestFailedWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.lease")
	for _, content := range []Content{Bytes([]byte("old")), func(io.Writer) error { return fs.ErrInvalid }} {
		_ = Write(path, content)
	}
	if b, err := Read(path); err != nil || string(b) != "old" ||
		len(names(t, filepath.Dir(path))) != 1 {
		t.Errorf("%q, %v, %v", b, err, names(t, filepath.Dir(path)))
	}
}
