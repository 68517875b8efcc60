package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/systemd"
)

// image is a host in a folder, and the programs that were run on it.
type image struct {
	t   *testing.T
	dir string
	ran []string
	bad string // the program that fails
}

func newImage(t *testing.T) *image { return &image{t: t, dir: t.TempDir()} }

var testFiles = Files([]byte("program"), []byte("version: 1\n"))

func (i *image) run(live bool, w Wish) (Result, error) {
	i.t.Helper()
	root, err := os.OpenRoot(i.dir)
	if err != nil {
		i.t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	h := Host{Root: root}
	if live {
		h.Exec = func(_ context.Context, name string, args ...string) error {
			i.ran = append(i.ran, strings.Join(append([]string{name}, args...), " "))
			if name == i.bad {
				return errors.New("it fails")
			}
			return nil
		}
	}
	return h.Run(i.t.Context(), testFiles, w)
}

func (i *image) must(live bool, w Wish) Result {
	i.t.Helper()
	r, err := i.run(live, w)
	if err != nil {
		i.t.Fatal(err)
	}
	return r
}

// tree returns what is in the image: path, kind, mode and content.
func (i *image) tree() map[string]string {
	i.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(i.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(b)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " " + target
		}
		all[strings.TrimPrefix(path, i.dir)] = text
		return nil
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return all
}

func (i *image) write(path, content string) {
	i.t.Helper()
	path = filepath.Join(i.dir, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
		os.WriteFile(path, []byte(content), 0o644)); err != nil {
		i.t.Fatal(err)
	}
}

func (i *image) has(path string) bool {
	_, err := os.Lstat(filepath.Join(i.dir, path))
	return err == nil
}

// TestInstallAndRemove checks that installing twice changes nothing, and that removing leaves only
// state and shared folders.
func TestInstallAndRemove(t *testing.T) {
	i := newImage(t)
	dry := i.must(false, Wish{DryRun: true})
	if len(i.tree()) != 1 || !dry.Changed {
		t.Fatalf("a dry run has changed something, or had nothing to do: %v", i.tree())
	}
	r := i.must(false, Wish{})
	if fmt.Sprint(r) != fmt.Sprint(dry) {
		t.Errorf("done:  %v\nsaid: %v", r, dry)
	}
	installed := i.tree()
	for path, want := range map[string]string{
		Program: "-rwxr-xr-x program", Policy: "-rw-r--r-- version: 1\n", ConfigDir: "drwxr-x---",
		StateDir: "drwxr-x---",
		UnitDir + "/sysinit.target.wants/portgrave-boot.service": "Lrwxrwxrwx " + UnitDir +
			"/portgrave-boot.service",
		UnitDir + "/multi-user.target.wants/portgrave.service": "Lrwxrwxrwx " + UnitDir +
			"/portgrave.service",
		UnitDir + "/timers.target.wants/portgrave-audit.timer": "Lrwxrwxrwx " + UnitDir +
			"/portgrave-audit.timer",
		UnitDir + "/portgrave.service": "-rw-r--r-- " +
			string(systemd.For("portgrave.service", Program)),
	} {
		if installed[path] != want {
			t.Errorf("%s: %.80q, want %.80q", path, installed[path], want)
		}
	}
	for path, text := range installed {
		if strings.HasPrefix(path, UnitDir) && strings.Contains(text, systemd.Program) {
			t.Errorf("%s names %s", path, systemd.Program)
		}
	}
	if again := i.must(false, Wish{}); Changes(again.Steps) || again.Changed ||
		fmt.Sprint(i.tree()) != fmt.Sprint(installed) {
		t.Errorf("the second time: %v", again)
	}
	i.write(StateDir+"/generations/000001.generation", "x")
	i.must(false, Wish{Remove: true})
	for path, text := range i.tree() {
		if !strings.HasPrefix(text, "d") && !strings.HasPrefix(path, StateDir) ||
			path == ConfigDir {
			t.Errorf("it stays: %s", path)
		}
	}
	i.must(false, Wish{Remove: true, State: true})
	if i.has(StateDir) {
		t.Error("the state directory stays")
	}
	if r := i.must(false, Wish{Remove: true}); r.Changed {
		t.Errorf("there is still something to remove: %v", r)
	}
}

// TestChangedFiles checks that the administrator's policy is neither replaced nor removed, that a
// unit of an older version is replaced, and that a changed unit is not removed.
func TestChangedFiles(t *testing.T) {
	i := newImage(t)
	i.write(Policy, "mine\n")
	i.write(UnitDir+"/portgrave.service", "old\n")
	r := i.must(false, Wish{})
	actions := map[string]Action{}
	for _, s := range r.Steps {
		actions[s.Path] = s.Action
	}
	if actions[Policy] != Stays || actions[UnitDir+"/portgrave.service"] != Replace {
		t.Errorf("%v", actions)
	}
	if got := i.tree()[Policy]; !strings.HasSuffix(got, " mine\n") {
		t.Errorf("the policy is %q", got)
	}
	i.write(UnitDir+"/portgrave-audit.service", "changed\n")
	i.write(ConfigDir+"/networks/cdn.txt", "10.0.0.0/8\n")
	i.must(false, Wish{Remove: true})
	for _, path := range []string{
		Policy, UnitDir + "/portgrave-audit.service", ConfigDir + "/networks/cdn.txt",
	} {
		if !i.has(path) {
			t.Errorf("%s is gone", path)
		}
	}
	if i.has(UnitDir + "/portgrave.service") {
		t.Error("the unit stays")
	}
}

// TestRefusals covers a host with a package, something in the way, and links that leave the image.
func TestRefusals(t *testing.T) {
	i := newImage(t)
	i.write(packagedUnit, "")
	before := fmt.Sprint(i.tree())
	for _, w := range []Wish{{}, {Remove: true}, {DryRun: true}} {
		if _, err := i.run(true, w); !errors.Is(err, ErrPackaged) {
			t.Errorf("%+v: %v", w, err)
		}
	}
	if fmt.Sprint(i.tree()) != before || i.ran != nil {
		t.Error("something was done")
	}

	i = newImage(t)
	i.write(UnitDir+"/portgrave.service/x", "")
	if _, err := i.run(false, Wish{}); err == nil || !strings.Contains(err.Error(), "in the way") {
		t.Error(err)
	}

	i = newImage(t)
	outside := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(i.dir, "usr/local"), 0o755),
		os.Symlink(outside, filepath.Join(i.dir, "usr/local/bin"))); err != nil {
		t.Fatal(err)
	}
	if _, err := i.run(false, Wish{}); err == nil {
		t.Error("a link out of the image was followed")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside: %v, %v", left, err)
	}
}

// TestCommands checks the programs run on a live host and their order, and that a failed run can be
// repeated.
func TestCommands(t *testing.T) {
	i := newImage(t)
	i.must(true, Wish{Now: true})
	install := []string{"systemd-sysusers " + sysusersFile, "systemd-tmpfiles --create " +
		tmpfilesFile, "systemctl daemon-reload",
		"systemctl start portgrave-boot.service portgrave.service portgrave-audit.timer"}
	if !slices.Equal(i.ran, install) {
		t.Errorf("%q", i.ran)
	}
	i.ran = nil
	if i.must(true, Wish{}); !slices.Equal(i.ran, install[:3]) { // it may have failed before
		t.Errorf("%q", i.ran)
	}
	i.ran = nil
	i.must(true, Wish{Remove: true})
	if want := []string{"systemctl stop portgrave-audit.timer portgrave.service " +
		"portgrave-boot.service", "systemctl " +
		"daemon-reload"}; !slices.Equal(i.ran, want) {
		t.Errorf("%q", i.ran)
	}
	i.bad = "systemctl"
	i.must(false, Wish{})
	if _, err := i.run(true, Wish{Remove: true}); err == nil ||
		!strings.Contains(err.Error(), "systemctl stop") || !i.has(Program) {
		t.Errorf("units that can't be stopped: %v", err)
	}
	if r := i.must(true, Wish{Remove: true, DryRun: true}); len(r.Commands) != 2 ||
		!i.has(Program) {
		t.Errorf("a dry run: %+v", r)
	}
}
