package lease

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/host/statefiles/faulty"
	"golang.org/x/sys/unix"
)

// TestFaults: whatever fails, the leases from before stay readable, what failed to be added is not
// there unless the error says so, what failed to be removed is, and all works again once the fault
// is gone.
func TestFaults(t *testing.T) {
	for _, operation := range []string{
		"make", "list", "read", "write", "rename", "after", "sync", "remove",
	} {
		for _, remains := range []bool{false, true} {
			t.Run(operation+map[bool]string{true: " and remove"}[remains], func(t *testing.T) {
				now := atNoon()
				s := storeAt(t, now)
				short := leaseOf("203.0.113.1/32", tcp(80, 80))
				short.Until = noon.Add(time.Minute)
				add(t, s, short)
				kept, closing := add(
					t,
					s,
					leaseOf("203.0.113.7/32", tcp(80, 80)),
				), add(
					t,
					s,
					leaseOf("203.0.113.8/32", tcp(80, 80)),
				)
				pass(now, time.Minute) // so that there is something to prune
				good := s.files.Folder
				s.files.Folder = faulty.Folder{Folder: good, Operation: operation, Remains: remains}

				leases, damaged, listErr := s.List()
				switch operation {
				case "list":
					if !errors.Is(listErr, faulty.Err) || leases != nil {
						t.Errorf("list: %v, %v", leases, listErr)
					}
				case "read":
					if listErr != nil || len(leases) != 0 || len(damaged) != 3 ||
						!errors.Is(damaged[0], faulty.Err) ||
						!strings.Contains(damaged[0].Error(), s.files.Path) {
						t.Errorf("list: %v, %v, %v", leases, damaged, listErr)
					}
				default:
					if listErr != nil || len(damaged) != 0 || len(leases) != 2 {
						t.Errorf("list: %v, %v, %v", leases, damaged, listErr)
					}
				}

				added, addErr := s.Add(leaseOf("203.0.113.9/32", tcp(80, 80)))
				if wantErr := operation != "read" && operation != "remove"; wantErr != errors.Is(
					addErr,
					faulty.Err,
				) {
					t.Errorf("add: %v", addErr)
				}
				removeErr := s.Remove(closing.ID)
				switch {
				case operation == "remove" || remains:
					if !errors.Is(removeErr, faulty.Err) || errors.Is(removeErr, ErrUncertain) {
						t.Errorf("remove: %v", removeErr)
					}
				case operation == "sync":
					if !errors.Is(removeErr, ErrUncertain) || !errors.Is(removeErr, faulty.Err) {
						t.Errorf("remove: %v", removeErr)
					}
				case removeErr != nil:
					t.Errorf("remove: %v", removeErr)
				}

				s.files.Folder = good
				left := ids(list(t, s))
				if !slices.Contains(left, kept.ID) {
					t.Errorf("%s is gone", kept.ID)
				}
				stays := operation == "remove" || remains
				if slices.Contains(left, closing.ID) != stays {
					t.Errorf("removed with %v, but listed: %v", removeErr, left)
				}
				said := addErr == nil || strings.Contains(addErr.Error(), "close "+added.ID)
				if there := slices.Contains(left, added.ID); there && !said ||
					!there && addErr == nil {
					t.Errorf("added with %v, but listed: %v", addErr, left)
				}
				after := add(t, s, leaseOf("203.0.113.9/32", tcp(80, 80)))
				if err := s.Remove(after.ID); err != nil ||
					slices.Contains(ids(list(t, s)), after.ID) {
					t.Errorf("afterwards: %v", err)
				}
			})
		}
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
		s := At(filepath.Join(dir, "state"))
		s.Clock = func() Reading { return *atNoon() }
		var err error
		var last Lease
		written := 0
		for ; err == nil && written < 100; written++ {
			var l Lease
			if l, err = s.Add(leaseOf("203.0.113.7/32", tcp(80, 80))); err == nil {
				last = l
			}
		}
		if !errors.Is(err, unix.ENOSPC) || written < 3 {
			t.Errorf("after %d: %v", written, err)
		}
		leases, damaged, err := s.List()
		if err != nil || len(damaged) != 0 || len(leases) != written-1 {
			t.Errorf("%d of %d readable, %v, %v", len(leases), written-1, damaged, err)
		}
		if err := s.Remove(last.ID); err != nil { // closing works on a full disk
			t.Error(err)
		}
	}()
	<-done
}

// TestFolderCannotBeMade: a file stands where the folder shall be.
func TestFolderCannotBeMade(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := At(filepath.Join(dir, "state"))
	if _, err := s.Add(leaseOf("203.0.113.7/32", tcp(80, 80))); !errors.Is(err, unix.ENOTDIR) ||
		!strings.Contains(err.Error(), "PORTGRAVE_STATE_DIR") {
		t.Errorf("%v", err)
	}
	if leases, _, err := s.List(); err == nil || leases != nil {
		t.Errorf("%v, %v", leases, err)
	}
}
