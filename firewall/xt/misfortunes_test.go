package xt

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"golang.org/x/sys/unix"
)

// Another program holds the xtables lock for ever: a clear error after the wait, and nothing
// half-applied. Sets that were prepared go again.
func TestLockHeldForEver(t *testing.T) {
	backendtest.Isolate(t)
	b, state := open(t, legacy), backendtest.Everything(t)
	lock, err := os.Create(os.Getenv("XTABLES_LOCKFILE"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	b.kernel.(*programs).lockWait = 1
	before := snapshot(t)
	start := time.Now()
	_, err = backendtest.Reconciler(b).Apply(context.Background(), &state, false)
	if err == nil ||
		!strings.Contains(err.Error(), "another program held the xtables lock for 1 seconds") {
		t.Errorf("%v", err)
	}
	t.Logf("after %v: %v", time.Since(start).Round(time.Millisecond), err)
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("something was changed (-before +after):\n%s", diff)
	}
}

// A set of our name that is of another type and in use by somebody else can't be ours; the rest is
// not touched.
func TestSetInTheWay(t *testing.T) {
	onBoth(t, func(t *testing.T, v variant) {
		run(
			t,
			v,
			"ipset create PORTGRAVE-N4-many hash:ip,port; iptables -A INPUT -m set --match-set PORTGRAVE-N4-many src,dst -j ACCEPT",
		)
		b, state := open(t, v), backendtest.Everything(t)
		if _, err := backendtest.Reconciler(b).Apply(context.Background(), &state, false); !errors.Is(
			err,
			firewall.ErrForeign,
		) {
			t.Errorf("over a set of somebody: %v", err)
		}
		// Forced, it is loaded beside; theirs is in use and stays, which is said.
		_, err := backendtest.Reconciler(b).Apply(context.Background(), &state, true)
		if err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("forced: %v", err)
		}
		run(t, v, "iptables -D INPUT -m set --match-set PORTGRAVE-N4-many src,dst -j ACCEPT")
		backendtest.Apply(t, b, &state)
		backendtest.Apply(t, b, nil)
	})
}

// A broken ipset program: the error says what it said, and nothing is changed.
func TestBrokenIpset(t *testing.T) {
	onBoth(t, func(t *testing.T, v variant) {
		b, state := open(t, v), backendtest.Everything(t)
		broken := t.TempDir() + "/ipset"
		if err := os.WriteFile(broken, []byte("#!/bin/sh\n[ \"$1\" = list ] && exit 0\necho 'ipset: cannot allocate anything' >&2; exit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		b.kernel.(*programs).ipset = broken
		before := snapshot(t)
		_, err := backendtest.Reconciler(b).Apply(context.Background(), &state, false)
		if err == nil || !strings.Contains(err.Error(), "cannot allocate anything") ||
			!strings.Contains(err.Error(), "previous rules are in force") {
			t.Errorf("%v", err)
		}
		if diff := cmp.Diff(before, snapshot(t)); diff != "" {
			t.Errorf("something was changed (-before +after):\n%s", diff)
		}
		// Nor is it guessed what sets hold that can't be read.
		b.kernel.(*programs).ipset = find("ipset")
		backendtest.Apply(t, b, &state)
		b.kernel.(*programs).ipset = ""
		if _, err := b.Observe(context.Background()); err == nil ||
			!strings.Contains(err.Error(), "no ipset program") {
			t.Errorf("sets without a program to read them: %v", err)
		}
	})
}

// A program that fails over one of our rules complains of the names of labels first, which is
// harmless.
func TestMissingLabelNamesAreNotTheError(t *testing.T) {
	onBoth(t, func(t *testing.T, v variant) {
		p := program{v, address.IPv4}
		err := open(
			t,
			v,
		).kernel.run(
			context.Background(),
			step{
				program: &p,
				input: []byte(
					"*mangle\n-A PREROUTING -m connlabel --label 90 --set\n-A NOWHERE -j DROP\nCOMMIT\n",
				),
			},
		)
		if err == nil || strings.Contains(err.Error(), "connlabel.conf") ||
			!strings.Contains(err.Error(), "line 3") {
			t.Errorf("%v", err)
		}
	})
}

// Without privileges the error is of that kind, so that the command can say what to do.
func TestFailuresAreSorted(t *testing.T) {
	for said, kind := range map[string]error{
		"iptables v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)":                        firewall.ErrPermission,
		"ipset v7.17: Kernel error received: Operation not permitted":                                                                      firewall.ErrPermission,
		"iptables v1.8.9 (legacy): can't initialize iptables table `mangle': Table does not exist (do you need to insmod?)":                firewall.ErrUnsupported,
		"iptables/1.8.9 Failed to initialize nft: Protocol not supported":                                                                  firewall.ErrUnsupported,
		"Another app is currently holding the xtables lock; waiting for it to exit...\nAnother app is currently holding the xtables lock.": errExit,
	} {
		if err := (&programError{name: "x", said: said, err: errExit}); !errors.Is(err, kind) {
			t.Errorf("%q is no %v", said, kind)
		}
	}
}

var errExit = errors.New("exit status 4")
