package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host/statefiles/faulty"
	"golang.org/x/sys/unix"
)

// TestFaults: whatever fails, the generations from before stay readable, and the next Append works
// once the fault is gone, under a new number.
func TestFaults(t *testing.T) {
	for _, operation := range []string{"list", "read", "write", "rename", "sync", "remove"} {
		t.Run(operation, func(t *testing.T) {
			s := open(t)
			for i := range Keep {
				if _, err := s.Append(generation(strconv.Itoa(i + 1))); err != nil {
					t.Fatal(err)
				}
			}
			good := s.files.Folder
			s.files.Folder = faulty.Folder{Folder: good, Operation: operation}
			_, appendErr := s.Append(generation("faulty"))
			_, lastErr := s.Last()
			if wantErr := operation != "read" && operation != "remove"; wantErr != errors.Is(
				appendErr,
				faulty.Err,
			) {
				t.Errorf("append: %v", appendErr)
			}
			if wantErr := operation == "list" || operation == "read"; wantErr != errors.Is(
				lastErr,
				faulty.Err,
			) {
				t.Errorf("last: %v", lastErr)
			}
			s.files.Folder = good
			all, err := s.List()
			if err != nil {
				t.Error(err)
			}
			kept := map[int]string{}
			highest := 0
			for _, g := range all {
				kept[g.Number] = g.Reason
				highest = max(highest, g.Number)
			}
			for n := 2; n <= Keep; n++ { // the first may have made room
				if kept[n] != strconv.Itoa(n) {
					t.Errorf("generation %d is %q", n, kept[n])
				}
			}
			g, err := s.Append(generation("after"))
			if err != nil || g.Number != highest+1 {
				t.Errorf("append afterwards: %d, %v", g.Number, err)
			}
			if all, err := s.List(); err != nil || len(all) != Keep {
				t.Errorf("%d generations afterwards, %v", len(all), err)
			}
		})
	}
}

// TestFullDisk does it for real, on a file system of 64 KiB.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root: a small file system can't be mounted")
	}
	dir := t.TempDir()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with its mounts
		if err := errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k")); err != nil {
			t.Error(err)
			return
		}
		s, err := Open(dir)
		if err != nil {
			t.Error(err)
			return
		}
		written := 0
		for ; err == nil && written < 100; written++ {
			_, err = s.Append(generation(strings.Repeat("r", 3000)))
		}
		if !errors.Is(err, unix.ENOSPC) || written < 3 {
			t.Errorf("after %d: %v", written, err)
		}
		all, err := s.List()
		if err != nil || len(all) != written-1 {
			t.Errorf("%d of %d readable, %v", len(all), written-1, err)
		}
	}()
	<-done
}

func TestForeignFilesAreNamed(t *testing.T) {
	s := open(t)
	for range 2 {
		if _, err := s.Append(generation("x")); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Dir(s.path(1))
	content, err := os.ReadFile(s.path(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"notes.txt", "7.generation", "+00008.generation", "000000.generation",
		".000009.generation123",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(s.path(5), 0o700); err != nil {
		t.Fatal(err)
	}
	all, err := s.List()
	if len(all) != 2 || err == nil {
		t.Fatalf("%d generations, %v", len(all), err)
	}
	for _, name := range []string{
		"notes.txt", "7.generation", "+00008.generation", "000000.generation", "000005.generation",
	} {
		if !strings.Contains(err.Error(), filepath.Join(folder, name)) {
			t.Errorf("%s is not named in %v", name, err)
		}
	}
	if strings.Contains(err.Error(), "000009") {
		t.Errorf("the leftover of a crash is reported: %v", err)
	}
	if g, err := s.Last(); err != nil || g.Number != 2 {
		t.Errorf("last: %v", err)
	}
	if err := os.WriteFile(s.path(3), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Last(); err == nil || !strings.Contains(err.Error(), "holds generation 2") {
		t.Errorf("a copied file: %v", err)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := s.Lock(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := s.Append(generation("x")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		dir:                        0o700,
		filepath.Dir(s.path(1)):    0o700,
		s.path(1):                  0o600,
		filepath.Join(dir, "lock"): 0o600,
	} {
		if i, err := os.Stat(path); err != nil || i.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, i.Mode().Perm(), err)
		}
	}
}

// TestProcesses: many processes append under the lock, and no number is lost or used twice.
func TestProcesses(t *testing.T) {
	if dir := os.Getenv("HISTORY_APPENDER"); dir != "" {
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			unlock, err := s.Lock(t.Context(), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Append(generation(strconv.Itoa(os.Getpid()))); err != nil {
				t.Error(err)
			}
			unlock()
		}
		return
	}
	dir := t.TempDir()
	var running []*exec.Cmd
	for range 4 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestProcesses$")
		cmd.Env = append(os.Environ(), "HISTORY_APPENDER="+dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running = append(running, cmd)
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	all, err := View(dir).List()
	if err != nil || len(all) != 20 || all[19].Number != 20 {
		t.Errorf("%d generations, %v", len(all), err)
	}
}

// TestLockNamesTheHolder, and a holder that dies without a word leaves nothing behind.
func TestLockNamesTheHolder(t *testing.T) {
	if dir := os.Getenv("HISTORY_HOLDER"); dir != "" {
		unlock, err := View(dir).Lock(context.Background(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unlock() // else the file is garbage, and closing it ends the lock
		fmt.Println("held")
		select {} // until it is killed
	}
	s := open(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockNamesTheHolder$")
	cmd.Env = append(os.Environ(), "HISTORY_HOLDER="+s.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	_, err = s.Lock(t.Context(), 0)
	if want := fmt.Sprintf("process %d", cmd.Process.Pid); err == nil ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("%v does not say %q", err, want)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	unlock, err := s.Lock(t.Context(), 0)
	if err != nil {
		t.Fatalf("after its death: %v", err)
	}
	unlock()
}

// TestLargeState: a hundred thousand prefixes come back as they were.
func TestLargeState(t *testing.T) {
	prefixes := make([]netip.Prefix, 100_000)
	for i := range prefixes {
		prefixes[i] = netip.PrefixFrom(
			netip.AddrFrom4([4]byte{10, byte(i >> 15), byte(i >> 7), byte(i << 1)}),
			32,
		)
	}
	g := generation("large")
	var err error
	if g.State.Services[0].Sources, err = address.New(prefixes...); err != nil ||
		g.State.Services[0].Sources.Len() != len(prefixes) {
		t.Fatal(g.State.Services[0].Sources.Len(), err)
	}
	s := open(t)
	start := time.Now()
	if _, err := s.Append(g); err != nil {
		t.Fatal(err)
	}
	written := time.Since(start)
	last, err := s.Last()
	if err != nil || !last.State.Equal(g.State) {
		t.Errorf("not what was written: %v", err)
	}
	t.Logf("written in %v, read in %v", written, time.Since(start)-written)
}

// TestEverythingComesBack: every field of a State survives the disk.
func TestEverythingComesBack(t *testing.T) {
	g := generation("all of it")
	g.State.Unlisted, g.State.Refuse, g.State.Established = firewall.UnlistedDeny, firewall.RefuseReject, firewall.EstablishedKeep
	g.State.Essentials = firewall.EssentialEcho | firewall.EssentialDHCP
	svc := &g.State.Services[0]
	svc.Interfaces, svc.Addresses = []string{
		"eth*",
	}, address.Must(
		"192.0.2.1/32",
		"2001:db8::1/128",
	)
	svc.Expiring = []firewall.ExpiringSource{
		{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Until: g.Time},
	}
	svc.Rate, svc.Log = &firewall.Rate{Count: 3, Per: time.Minute, Burst: 9}, firewall.LogAll
	state, err := g.State.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	g.State, g.From, g.Origin, g.Summary = state, "192.0.2.9", "/etc/portgrave", "+1"
	s := open(t)
	written, err := s.Append(g)
	if err != nil {
		t.Fatal(err)
	}
	last, err := s.Last()
	if err != nil || !last.State.Equal(state) {
		t.Fatalf("%+v, %v", last, err)
	}
	last.State, written.State = firewall.State{}, firewall.State{}
	if !reflect.DeepEqual(*last, written) {
		t.Errorf("%+v, want %+v", *last, written)
	}
}
