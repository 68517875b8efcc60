package process

import "testing"

func TestUnitOf(t *testing.T) {
	for cgroup, want := range map[string]string{
		"0::/system.slice/nginx.service":                                            "nginx.service",
		"0::/system.slice/system-getty.slice/getty@tty1.service\n":                  "getty@tty1.service",
		"0::/user.slice/user-1000.slice/session-3.scope":                            "session-3.scope",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/forged.service": "user@1000.service",
		"12:pids:/x.service\n1:name=systemd:/system.slice/cron.service\n0::/\n":     "cron.service",
		"0::/system.slice/docker-0123.scope":                                        "docker-0123.scope",
		"0::/init.scope":                                                            "init.scope",
		"0::/\n":                                                                    "",
		"0::/system.slice":                                                          "",
		"nonsense\n1\n::":                                                           "",
		"4:memory:/system.slice/only-limits.service\n0::/system.slice/a:b.service/x\n": "a:b.service",
		"": "",
	} {
		if got := unitOf(cgroup); got != want {
			t.Errorf("%q: got %q, want %q", cgroup, got, want)
		}
	}
}

func TestUserName(t *testing.T) {
	for uid, want := range map[string]string{"0": "root", "4000000000": "4000000000"} {
		if got := UserName(uid); got != want {
			t.Errorf("%s: got %q, want %q", uid, got, want)
		}
	}
}
