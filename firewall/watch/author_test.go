package watch

import (
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/process"
)

func TestAuthor(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	link := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink}
	}
	const login = "4294967295"
	type author = firewall.Author
	tests := map[string]struct {
		commit commit
		proc   fstest.MapFS
		want   author
		login  string
	}{
		"a process": {
			commit{thread: 7, name: "nft"}, fstest.MapFS{
				"7/exe": link("/usr/sbin/nft"), "7/comm": file("nft\n"), "7/loginuid": file("1000"),
				"7/status": file("Name:\tnft\nTgid:\t7\nPid:\t7\nUid:\t0\t1\t2\t3\n"),
				"7/cgroup": file("0::/system.slice/fail2ban.service\n"),
			},
			author{
				Command:    "nft",
				PID:        7,
				Executable: "/usr/sbin/nft",
				Unit:       "fail2ban.service",
				User:       "user 0",
			}, "user 1000",
		},
		"a thread": {
			commit{thread: 9, name: "worker-2"}, fstest.MapFS{
				"9/exe": link(
					"/usr/bin/dockerd",
				), "9/comm": file("worker-2\n"), "9/loginuid": file(login),
				"9/status": file("Tgid:\t8\nUid:\t0\t0\t0\t0\n"), "8/comm": file("dockerd\n"),
			},
			author{Command: "dockerd", PID: 8, Executable: "/usr/bin/dockerd", User: "user 0"}, "",
		},
		"gone": {
			commit{thread: 7, name: "nft"},
			fstest.MapFS{},
			author{Command: "nft", PID: 7},
			"",
		},
		"a zombie": {
			commit{
				thread: 7,
				name:   "nft",
			}, fstest.MapFS{"7/comm": file("nft\n"), "7/status": file("Tgid:\t7\nUid:\t33\t0\t0\t0\n")},
			author{Command: "nft", PID: 7, User: "user 33"}, "",
		},
		"gone while it was read": {
			commit{thread: 7, name: "nft"}, fstest.MapFS{"7/exe": link("/usr/sbin/nft")},
			author{Command: "nft", PID: 7, Executable: "/usr/sbin/nft"}, "",
		},
		"somebody else by now": {
			commit{thread: 7, name: "nft"}, fstest.MapFS{
				"7/exe": link(
					"/bin/bash",
				), "7/comm": file("bash\n"), "7/status": file("Tgid:\t7\nUid:\t1000\n"), "7/loginuid": file("1000"),
			},
			author{Command: "nft", PID: 7}, "",
		},
		"an old kernel, which tells nothing": {commit{}, fstest.MapFS{}, author{}, ""},
	}
	at := time.Unix(1, 0)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := authorFinder{
				process.Reader{
					Proc: test.proc,
					User: func(uid string) string { return "user " + uid },
				},
			}
			test.want.At = at
			if got := a.find(test.commit, at); got.Author != test.want ||
				got.loginUser != test.login {
				t.Errorf("got %+v, want %+v and login %q", got, test.want, test.login)
			}
		})
	}
}
