package process

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func link(to string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
}

func TestLook(t *testing.T) {
	id := strings.Repeat("a", 64)
	proc := fstest.MapFS{
		"7/exe": link("/usr/sbin/nginx"), "7/comm": file("nginx\n"), "7/loginuid": file("1000"),
		"7/status": file("Name:\tnginx\nTgid:\t7\nPid:\t7\nUid:\t33\t0\t0\t0\n"),
		"7/cgroup": file("0::/system.slice/docker-" + id + ".scope\n"),
		"9/comm":   file("worker-2\n"), "9/loginuid": file("4294967295"),
		"9/status": file("Tgid:\t7\nUid:\t33\t0\t0\t0\n"),
	}
	r := Reader{Proc: proc, User: func(uid string) string { return "user " + uid }}
	for number, want := range map[int]Process{
		7: {PID: 7, Name: "nginx", ThreadName: "nginx", Executable: "/usr/sbin/nginx", Unit: "docker-" + id + ".scope",
			Container: Container{ID: id, Runtime: "docker"}, User: "user 33", LoginUser: "user 1000"},
		9: {PID: 7, Name: "nginx", ThreadName: "worker-2", User: "user 33"},
		8: {},
	} {
		if got := r.Look(number); got != want {
			t.Errorf("%d: got %+v, want %+v", number, got, want)
		}
	}
}

// Look works with the real /proc.
func TestLookAtThisProcess(t *testing.T) {
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got := New().Look(os.Getpid())
	if got.PID != os.Getpid() || got.Executable != executable || got.Name == "" || got.User == "" {
		t.Errorf("got %+v", got)
	}
}

func TestDescriptors(t *testing.T) {
	proc := fstest.MapFS{
		"7/fd/0": link(
			"/dev/null",
		), "7/fd/3": link("socket:[4711]"), "7/fd/4": file("not a link: closed meanwhile"),
		"12/fd/1": link("net:[4026531833]"), "self": link("7"), "uptime": file("1"),
	}
	pids, err := Numbers(proc, ".")
	if err != nil || !slices.Equal(pids, []int{7, 12}) {
		t.Errorf("processes %v, %v", pids, err)
	}
	held, err := Descriptors(proc, 7)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"7/fd/0": "/dev/null", "7/fd/3": "socket:[4711]"}
	if got := maps.Collect(held); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for range held {
		break // stopping early is allowed
	}
	if _, err := Descriptors(proc, 8); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a process that has ended: %v", err)
	}
}

func TestInode(t *testing.T) {
	for _, c := range []struct {
		target, kind string
		want         uint64
		ok           bool
	}{
		{"socket:[4711]", "socket", 4711, true}, {"net:[4026531833]", "net", 4026531833, true},
		{"socket:[4711]", "net", 0, false}, {"socket:[4711", "socket", 0, false}, {"socket:[]", "socket", 0, false},
		{"socket:[-1]", "socket", 0, false}, {"/tmp/socket:[1]", "socket", 0, false}, {"", "socket", 0, false},
	} {
		if got, ok := Inode(c.target, c.kind); ok != c.ok || ok && got != c.want {
			t.Errorf("%q: got %d, %v", c.target, got, ok)
		}
	}
}
