package installer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/portgrave/portgrave/systemd"
)

// Host is the host on which portgrave is installed.
type Host struct {
	// Root is the host's root folder. Nothing outside can be reached, even by links.
	Root *os.Root
	// Exec runs a program of the host. It is nil for an image, where no program is run.
	Exec func(ctx context.Context, name string, args ...string) error
}

// Wish says what to do.
type Wish struct {
	Remove bool
	State  bool // with Remove: also the state directory
	Now    bool // without Remove: start the units
	DryRun bool
}

// Result is what was done, or would be in a dry run. Its JSON is a contract.
type Result struct {
	Changed  bool       `json:"changed"`
	Steps    []Step     `json:"steps"`
	Commands [][]string `json:"commands"`
}

// ErrPackaged is returned if a package has installed portgrave on the host.
var ErrPackaged = errors.New("a package manages portgrave here (it owns " + packagedUnit +
	"): install, upgrade and remove it with the package manager")

// Run installs or removes. After an error, the finished steps stay, and Run can be called again.
func (h Host) Run(ctx context.Context, files []File, w Wish) (Result, error) {
	r := Result{Steps: []Step{}, Commands: [][]string{}}
	if _, err := h.Root.Stat(strings.TrimPrefix(packagedUnit, "/")); err == nil {
		return r, ErrPackaged
	}
	there, err := h.readAll(files)
	if err != nil {
		return r, err
	}
	var before, after [][]string
	if w.Remove {
		r.Steps = append(r.Steps, Uninstall(files, there, w.State)...)
		before = [][]string{append([]string{"systemctl", "stop"}, reversed(systemd.Enabled)...)}
		after = [][]string{{"systemctl", "daemon-reload"}}
	} else {
		steps, err := Install(files, there)
		if err != nil {
			return r, err
		}
		r.Steps = append(r.Steps, steps...)
		// Create the user first, because folders are given to it.
		after = [][]string{{"systemd-sysusers", sysusersFile},
			{"systemd-tmpfiles", "--create", tmpfilesFile}, {"systemctl", "daemon-reload"}}
	}
	r.Changed = Changes(r.Steps)
	// The commands of an installation can be repeated, and may have failed the first time.
	if h.Exec == nil || w.Remove && !r.Changed {
		before, after = nil, nil
	}
	if w.Now && !w.Remove && h.Exec != nil {
		after = append(after, append([]string{"systemctl", "start"}, systemd.Enabled...))
	}
	r.Commands = append(append(r.Commands, before...), after...)
	if w.DryRun {
		return r, nil
	}
	if err := h.exec(ctx, before); err != nil {
		return r, err
	}
	for i := range r.Steps {
		if err := h.execute(&r.Steps[i]); err != nil {
			return r, err
		}
	}
	return r, h.exec(ctx, after)
}

func (h Host) exec(ctx context.Context, commands [][]string) error {
	for _, c := range commands {
		if err := h.Exec(ctx, c[0], c[1:]...); err != nil {
			return fmt.Errorf("%s: %w (what was done so far stays; run this again)",
				strings.Join(c, " "), err)
		}
	}
	return nil
}

func reversed(names []string) []string {
	out := make([]string, 0, len(names))
	for i := len(names) - 1; i >= 0; i-- {
		out = append(out, names[i])
	}
	return out
}

// readAll reads what is at the paths of the files.
func (h Host) readAll(files []File) (map[string]There, error) {
	all := map[string]There{}
	for _, f := range files {
		name := strings.TrimPrefix(f.Path, "/")
		info, err := h.Root.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking at %s: %w", f.Path, err)
		}
		t := There{Mode: info.Mode(), Kind: "other"}
		switch {
		case info.IsDir():
			t.Kind = Folder
		case info.Mode().IsRegular():
			t.Kind = Regular
			if t.Content, err = h.Root.ReadFile(name); err != nil {
				return nil, fmt.Errorf("reading %s: %w", f.Path, err)
			}
		case info.Mode()&fs.ModeSymlink != 0:
			t.Kind = Link
			if t.Target, err = h.Root.Readlink(name); err != nil {
				return nil, fmt.Errorf("reading %s: %w", f.Path, err)
			}
		}
		all[f.Path] = t
	}
	return all, nil
}

// execute performs a step.
func (h Host) execute(s *Step) error {
	name := strings.TrimPrefix(s.Path, "/")
	var err error
	switch s.Action {
	case Stays:
		return nil
	case Remove:
		err = h.remove(s, name)
	default:
		if err = h.Root.MkdirAll(path.Dir(name), 0o755); err == nil {
			err = h.write(s.file, name)
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", s.Action, s.Path, err)
	}
	return nil
}

// remove removes a file, or a folder if it is empty. It removes state with its content.
func (h Host) remove(s *Step, name string) error {
	if s.file.State {
		return h.Root.RemoveAll(name)
	}
	err := h.Root.Remove(name)
	if s.Kind == Folder && errors.Is(err, syscall.ENOTEMPTY) {
		s.Action, s.Reason = Stays, "something of others' is in it"
		return nil
	}
	return err
}

// write makes a file atomically. It sets the mode on the open file, so that the umask has no
// effect.
func (h Host) write(f File, name string) error {
	if f.Kind == Folder {
		if err := h.Root.Mkdir(name, f.Mode); err != nil {
			return err
		}
		return h.Root.Chmod(name, f.Mode)
	}
	beside := path.Join(path.Dir(name), "."+path.Base(name)+".new")
	// A crash may have left this file.
	if err := h.Root.Remove(beside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if f.Kind == Link {
		if err := h.Root.Symlink(f.Target, beside); err != nil {
			return err
		}
		return h.Root.Rename(beside, name)
	}
	out, err := h.Root.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = out.Write(f.Content)
	err = errors.Join(err, out.Chmod(f.Mode), out.Sync(), out.Close())
	if err != nil {
		return errors.Join(err, h.Root.Remove(beside))
	}
	return h.Root.Rename(beside, name)
}
