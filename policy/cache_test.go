package policy

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCacheDamage checks that a cache that was cut, changed or belongs to another source is
// ignored.
func TestCacheDamage(t *testing.T) {
	w := newWorld(t)
	fail := false
	w.LookupIP = func(context.Context, string) ([]netip.Addr, error) {
		if fail {
			return nil, errors.New("no answer")
		}
		return []netip.Addr{addr("192.0.2.1"), addr("192.0.2.4")}, nil
	}
	const n = "{dns: vpn.example.net, refresh: 5m}"
	w.allowed(n)
	path := filepath.Join(w.Dir, "n.addresses")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("the cache has mode %v", info.Mode())
	}
	fail = true
	expectPart(t, w.refused("{dns: other.example.net}"), "no answer")
	w.Warn = func(err error) { expectPart(t, err.Error(), "damaged") }
	for i := 0; i <= len(good); i += 7 {
		write(t, path, string(good[:i]))
		if i == len(good) {
			break
		}
		expectPart(t, w.refused(n), "no answer")
	}
	write(t, path, strings.Replace(string(good), "\xc0\x00\x02\x04", "\x00\x00\x00\x00", 1))
	expectPart(t, w.refused(n), "no answer")
	write(t, path, string(good))
	expect(t, "content", w.allowed(n), "192.0.2.1/32 192.0.2.4/32")
}

func TestCacheCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	write(t, w.Dir, "a file where the folder should be")
	w.LookupIP = func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{addr("192.0.2.1")}, nil
	}
	warned := false
	w.Warn = func(error) { warned = true }
	expect(t, "content", w.allowed("{dns: vpn.example.net}"), "192.0.2.1/32")
	if !warned {
		t.Error("nobody heard that the content could not be kept")
	}
}
