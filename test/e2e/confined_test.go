package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/portgrave/portgrave/systemd"
)

// The daemons of these tests run as their unit has them run: as a user that is not root, with the
// unit's capabilities and no way to get others. What that means is read from the unit, so that the
// two can't drift apart. What else the unit restricts (system calls, address families, files) takes
// a systemd, and is tried under one.

// confinement is who a process is and what it may.
type confinement struct {
	uid          int
	capabilities []string // as the unit has them: CAP_NET_ADMIN
	nice         string
	groups       []string // besides its own
}

// daemonUser is a number that no user has; the daemon must not need a name.
const daemonUser = 61_000

// confinedBy is the confinement of the daemon's unit with drop-ins.
func confinedBy(t *testing.T, dropIns ...string) *confinement {
	t.Helper()
	if !wholeUsers() {
		t.Log("other users don't exist in this user namespace, so the daemon runs as its root")
		return nil
	}
	units := [][]byte{systemd.File("portgrave.service")}
	for _, d := range dropIns {
		units = append(units, systemd.File(d))
	}
	for key, want := range map[string]string{"User": systemd.User, "NoNewPrivileges": "yes"} {
		if got := systemd.Settings("Service", key, units...); !slices.Equal(got, []string{want}) {
			t.Fatalf("the unit says %s=%v", key, got)
		}
	}
	groups := systemd.Settings("Service", "SupplementaryGroups", units...)
	for i, g := range groups {
		if g != "root" {
			t.Fatalf("a group that these tests don't know: %s", g)
		}
		groups[i] = "0"
	}
	c := &confinement{
		daemonUser,
		systemd.Settings("Service", "AmbientCapabilities", units...),
		strings.Join(systemd.Settings("Service", "Nice", units...), ""),
		groups,
	}
	if len(c.capabilities) == 0 || c.nice == "" {
		t.Fatalf("the unit says too little: %+v", c)
	}
	return c
}

// wholeUsers reports whether users can be told apart here: not in a user namespace of one user.
var wholeUsers = sync.OnceValue(func() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	fields := strings.Fields(string(b))
	return err == nil && len(fields) == 3 && fields[2] == "4294967295"
})

// without is the confinement less one capability.
func (c *confinement) without(capability string) *confinement {
	less := *c
	less.capabilities = slices.DeleteFunc(
		slices.Clone(c.capabilities),
		func(x string) bool { return x == capability },
	)
	return &less
}

// words are what must stand before a command line to confine it; none for nil.
func (c *confinement) words() []string {
	if c == nil {
		return nil
	}
	list := "-all"
	for _, x := range c.capabilities {
		list += ",+" + strings.ToLower(strings.TrimPrefix(x, "CAP_"))
	}
	id := strconv.Itoa(c.uid)
	groups := "--clear-groups"
	if c.groups != nil {
		groups = "--groups=" + strings.Join(c.groups, ",")
	}
	return []string{
		"nice",
		"-n",
		c.nice,
		"setpriv",
		"--reuid=" + id,
		"--regid=" + id,
		groups,
		"--inh-caps=" + list,
		"--ambient-caps=" + list,
		"--bounding-set=" + list,
		"--no-new-privs",
		"--",
	}
}

// own makes folders the confined process's, as systemd does with state and run directory, and lets
// it pass through those above, which are the test's.
func (c *confinement) own(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		err := os.MkdirAll(dir, 0o750)
		if c != nil && err == nil {
			err = os.Chown(dir, c.uid, c.uid)
		}
		for above := filepath.Dir(dir); err == nil && above != os.TempDir() && above != "/"; above = filepath.Dir(above) {
			var info os.FileInfo
			if info, err = os.Stat(above); err == nil && info.Mode().Perm()&0o011 != 0o011 {
				err = os.Chmod(above, info.Mode().Perm()|0o011)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
