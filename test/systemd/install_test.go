package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
)

func (d *disk) install(program string) {
	d.t.Helper()
	b, err := os.ReadFile(program)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.root, "usr/bin/portgrave"), b, 0o755); err != nil {
		d.t.Fatal(err)
	}
	for _, u := range []string{"portgrave.service", "portgrave-boot.service", "portgrave-audit.service", "portgrave-audit.timer"} {
		b, err := os.ReadFile(filepath.Join(top(), "systemd", u))
		if err != nil {
			d.t.Fatal(err)
		}
		d.write("/usr/lib/systemd/system/"+u, string(b))
	}
	for u, to := range map[string]string{"portgrave.sysusers": "/usr/lib/sysusers.d/portgrave.conf", "portgrave.tmpfiles": "/usr/lib/tmpfiles.d/portgrave.conf"} {
		b, err := os.ReadFile(filepath.Join(top(), "systemd", u))
		if err != nil {
			d.t.Fatal(err)
		}
		d.write(to, string(b))
	}
	if out, err := exec.Command("systemctl", "--root="+d.root, "enable", "portgrave.service", "portgrave-boot.service", "portgrave-audit.timer").CombinedOutput(); err != nil {
		d.t.Fatalf("%v %s", err, out)
	}
}
