package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// addressLines returns n addresses, one a line.
func addressLines(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "192.0.2.%d\n", first+i)
	}
	return b.String()
}

// TestMaxShrink checks that a list which has lost too many entries counts as failed, whatever its
// source, until it is accepted. Consecutive addresses count separately, although they are merged.
func TestMaxShrink(t *testing.T) {
	for name, c := range map[string]struct {
		setting       string
		before, after string
		lost          string // "" if accepted
	}{
		"half":                     {"", addressLines(1, 40), addressLines(1, 20), ""},
		"more than half":           {"", addressLines(1, 40), addressLines(1, 19), "it has lost 21 of its 40 entries, and max_shrink allows 50%"},
		"twenty":                   {"", addressLines(1, 20), addressLines(1, 9), "it has lost 11 of its 20 entries, and max_shrink allows 50%"},
		"nineteen":                 {"", addressLines(1, 19), addressLines(1, 1), ""},
		"other entries":            {"", addressLines(1, 40), addressLines(101, 40), ""},
		"more entries":             {"", addressLines(1, 40), addressLines(1, 80), ""},
		"the same in fewer lines":  {"", addressLines(0, 64), "192.0.2.0/26\n", ""},
		"wider, and fewer lines":   {"", addressLines(1, 64), "192.0.2.0/24\n", ""},
		"a tenth is allowed":       {", max_shrink: 10%", addressLines(1, 40), addressLines(1, 35), "it has lost 5 of its 40 entries, and max_shrink allows 10%"},
		"nothing is allowed":       {", max_shrink: 0%", addressLines(1, 40), addressLines(1, 39), "it has lost 1 of its 40 entries, and max_shrink allows 0%"},
		"everything is allowed":    {", max_shrink: 100%", addressLines(1, 40), addressLines(1, 1), ""},
		"down to a comment":        {"", addressLines(1, 40), "# nobody\n", "it has lost 40 of its 40 entries, and max_shrink allows 50%"},
		"to a comment, and it may": {", max_shrink: 100%", addressLines(1, 40), "# nobody\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			path := filepath.Join(t.TempDir(), "list.txt")
			n := fmt.Sprintf(`{file: %q%s}`, path, c.setting)
			write(t, path, c.before)
			before := w.allowed(n)
			write(t, path, c.after)
			if c.lost == "" {
				if got := w.allowed(n); got == before && c.before != c.after &&
					!strings.Contains(name, "same") {
					t.Errorf("the content is still %s", got)
				}
				return
			}
			for range 2 { // the second attempt fails too
				content, reason := w.stale(n)
				expect(t, "content", content, before)
				expect(
					t,
					"reason",
					reason,
					path+": "+c.lost+"; if that is right, run: portgrave apply --force",
				)
			}
			w.AcceptShrunk = true
			after := w.allowed(n)
			w.AcceptShrunk = false
			expect(t, "content afterwards", w.allowed(n), after)
		})
	}
}

func TestMaxShrinkOfDownloads(t *testing.T) {
	w := newWorld(t)
	body := addressLines(1, 40)
	s := w.server(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, body) })
	n := fmt.Sprintf(`{url: %q, refresh: 1h}`, s.URL)
	before := w.allowed(n)
	body = addressLines(1, 10)
	w.time = w.time.Add(2 * time.Hour)
	content, reason := w.stale(n)
	expect(t, "content", content, before)
	expectPart(t, reason, "it has lost 30 of its 40 entries")
	// Content with the digest in the policy is accepted.
	sum := sha256.Sum256([]byte(body))
	expect(
		t,
		"pinned content",
		w.allowed(fmt.Sprintf(`{url: %q, refresh: 1h, sha256: %s}`, s.URL,
			hex.EncodeToString(sum[:]))),
		strings.Join(
			prefixes(
				"192.0.2.1/32",
				"192.0.2.2/31",
				"192.0.2.4/30",
				"192.0.2.8/31",
				"192.0.2.10/32",
			).Strings(),
			" ",
		),
	)
}

func TestMaxShrinkOfNames(t *testing.T) {
	w := newWorld(t)
	many := 30
	w.LookupIP = func(context.Context, string) (addrs []netip.Addr, err error) {
		for i := range many {
			addrs = append(addrs, netip.AddrFrom4([4]byte{192, 0, 2, byte(2 * i)}))
		}
		return addrs, nil
	}
	before := w.allowed("{dns: example.com}")
	many = 3
	w.time = w.time.Add(time.Hour)
	content, reason := w.stale("{dns: example.com}")
	expect(t, "content", content, before)
	expect(
		t,
		"reason",
		reason,
		"it has lost 27 of its 30 entries, and max_shrink allows 50%; if that is right, run: portgrave apply --force",
	)
}

// TestMaxShrinkOfOldCache checks that content of an earlier version, which has no count, is
// compared by its prefixes.
func TestMaxShrinkOfOldCache(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "list.txt")
	n := fmt.Sprintf(`{file: %q}`, path)
	var apart strings.Builder
	for i := range 30 {
		fmt.Fprintf(&apart, "192.0.2.%d\n", 2*i)
	}
	write(t, path, apart.String())
	before := w.allowed(n)
	kept := filepath.Join(w.Dir, "n.addresses")
	content, err := os.ReadFile(kept)
	if err != nil || !strings.Contains(string(content), `"entries":30,`) {
		t.Fatalf("%v: %.200q", err, content)
	}
	write(t, kept, strings.Replace(string(content), `"entries":30,`, "", 1))
	write(t, path, "192.0.2.0\n")
	got, reason := w.stale(n)
	expect(t, "content", got, before)
	expectPart(t, reason, "it has lost 29 of its 30 entries")
	// A damaged cache can't be compared.
	if err := os.WriteFile(kept, content[:len(content)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	w.Warn = func(error) {}
	expect(t, "content", w.allowed(n), "192.0.2.0/32")
}
