package policy

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A policy from its Text equals the original, whatever the files and the current folder are now.
func TestTextRestoresThePolicy(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) *Policy {
		t.Helper()
		p, err := Read(Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	compile := func(p *Policy) *Compiled {
		t.Helper()
		c, err := p.Compile(t.Context(), &Networks{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	write("list.txt", "10.0.0.0/8\n")
	write(
		"policy.yaml",
		"version: 1\nnetworks: {office: {file: list.txt}}\nservices: [{name: a, port: 1, allow: [office]}]\ndaemon: {follow: none}\n",
	)
	write("policy.d/more.yaml", "services: [{name: b, port: 2, allow: [office]}]\n")
	t.Chdir(filepath.Dir(dir))
	p := read(filepath.Base(dir)) // with a relative path
	want, text := compile(p).State, p.Text()
	if whole := read(dir).Text(); !bytes.Equal(whole, text) {
		t.Errorf("by another path the text is %s, not %s", whole, text)
	}

	write("policy.yaml", "version: 1\nnetworks: {office: [10.0.0.0/8]}\nservices: []\n")
	t.Chdir("/")
	again, err := ReadText(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := compile(again).State; !got.Equal(want) || again.Daemon.Follow != FollowNone {
		t.Errorf("read again, it follows %q and compiles to %+v, not %+v",
			again.Daemon.Follow, got, want)
	}
	if !bytes.Equal(again.Text(), text) || bytes.Equal(read(dir).Text(), text) {
		t.Error("texts that differ can't be told apart, or the same ones can")
	}
	if folders := Folders(Options{Path: dir}, again); !bytes.Contains(
		[]byte(filepath.Join(folders...)),
		[]byte(dir),
	) {
		t.Errorf("its network files are looked for in %v", folders)
	}

	write("policy.d/only.yaml", "version: 1\nservices: [{name: b, port: 2}]\n")
	for name, path := range map[string]string{"a file alone": filepath.Join(dir, "policy.d", "only.yaml"), "the default": ""} {
		if name == "the default" {
			if _, err := os.Stat(DefaultPath); err == nil {
				continue // this host has a policy
			}
		}
		p := read(path)
		again, err := ReadText(p.Text())
		if err != nil || !compile(again).State.Equal(compile(p).State) || again.Origin == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "{}", "[1]", `[{"path":"x","content":"bm9uc2Vuc2U="}]`} {
		if _, err := ReadText([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
