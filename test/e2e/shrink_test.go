package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/test/lab"
)

// A list that is whole and has lost most of its entries, such as by a download that broke off,
// changes nothing: who is blocked stays so, until somebody says that the shorter list is right.
func TestListThatShrinks(t *testing.T) { onEveryBackend(t, testListThatShrinks) }

func testListThatShrinks(t *testing.T, e engine) {
	w := lab.New(t)
	w.Host.ListenTCP(9090)
	i := install(t, w, `version: 1
networks: {blocked: {file: blocked.txt}}
services: [{name: public, port: 9090, allow: [any], except: [blocked]}]
daemon: {poll: 2s}
`)
	i.use(e)
	foes := []netip.Addr{source(false, blocked), source(true, blocked)}
	var entries []string
	for n := range 20 {
		entries = append(
			entries,
			fmt.Sprintf("192.0.2.%d", 2*n),
			fmt.Sprintf("2001:db8:6000::%x", 2*n),
		)
	}
	list := filepath.Join(i.dir, "blocked.txt")
	put := func(entries ...string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(strings.Join(entries, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(append(entries, foes[0].String(), foes[1].String())...)
	i.start()
	check := func(when string, want lab.Answer) {
		t.Helper()
		for _, foe := range foes {
			at := w.Host.At(9090, foe.Is6())
			if got := w.Probe(w.Internet, []netip.Addr{foe}, at)[foe]; got != want {
				t.Errorf("%s: %s is %s, want %s", when, foe, got, want)
			}
		}
	}
	check("with the whole list", lab.Dropped)
	put(entries[:10]...)
	const why = "it has lost 32 of its 42 entries, and max_shrink allows 50%"
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if out, err := i.try("reload"); err == nil &&
			strings.Contains(out, "keep what they last held: blocked") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the daemon has not noticed")
		}
	}
	check("with a list that has shrunk", lab.Dropped)
	if out, err := i.try("apply"); err != nil || !strings.Contains(out, why) ||
		!strings.Contains(out, "Nothing to do") {
		t.Errorf("apply: %v\n%s", err, out)
	}
	check("applied", lab.Dropped)
	if out, err := i.try("apply", "--force"); err != nil || strings.Contains(out, "stale") {
		t.Errorf("apply --force: %v\n%s", err, out)
	}
	check("applied with --force", lab.Open)
	if out, err := i.try("reload"); err != nil || strings.Contains(out, "last held") {
		t.Errorf("reload: %v\n%s", err, out)
	}
	check("read again", lab.Open)
}
