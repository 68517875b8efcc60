package xt

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/netlink"
)

// Rules are read as they stood at one moment, or not at all, while another program replaces all of
// them in one commit after the other. Here they are always of one colour. What takes the kernel
// longest, and so tears most, is a table that is deleted and made again, as "nft -f" does.
func TestOneGeneration(t *testing.T) {
	onBoth(t, func(t *testing.T, v variant) {
		const chains, rules = 100, 10
		dir := t.TempDir()
		for _, colour := range []string{"red", "green"} {
			var b strings.Builder
			begin, chain, rule, end := "*mangle\n", ":%s - [0:0]\n", "-A %s -i lo -j RETURN\n", "COMMIT\n"
			if v == nfVariant {
				begin = "table ip mangle\ndelete table ip mangle\nadd table ip mangle\n"
				chain, rule, end = "add chain ip mangle %s\n", "add rule ip mangle %s iifname lo counter return\n", ""
			}
			b.WriteString(begin)
			for i := range chains {
				fmt.Fprintf(&b, chain, fmt.Sprintf("PORTGRAVE-%s-%d", colour, i))
			}
			for i := range chains {
				b.WriteString(
					strings.Repeat(
						fmt.Sprintf(rule, fmt.Sprintf("PORTGRAVE-%s-%d", colour, i)),
						rules,
					),
				)
			}
			b.WriteString(end)
			if err := os.WriteFile(
				filepath.Join(dir, colour), []byte(b.String()), 0o600,
			); err != nil {
				t.Fatal(err)
			}
		}
		// A program of its own: a goroutine would be in another namespace.
		program := "iptables-legacy-restore --wait 5 <"
		if v == nfVariant {
			program = "nft -f "
		}
		writer := exec.Command(
			"sh",
			"-c",
			fmt.Sprintf(
				"cd %q; while :; do %sred || exit 1; %sgreen || exit 1; done",
				dir,
				program,
				program,
			),
		)
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = writer.Process.Kill()
			_ = writer.Wait()
		}()
		b := open(t, v)
		b.kernel.(*programs).families = []address.Family{address.IPv4}
		enough := 120 // one reading of a hundred used to be torn
		if v == legacy {
			enough = 20
		}
		whole, torn, given, seen := 0, 0, 0, map[string]bool{}
		for end := time.Now().Add(time.Minute); (whole < enough || len(seen) < 2) && time.Now().Before(end); {
			r, err := b.kernel.read(t.Context())
			if errors.Is(err, netlink.ErrInterrupted) {
				given++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]int{}
			for name, c := range r.at(tableKey{v, address.IPv4, mangle}).chains {
				found[strings.Split(name, "-")[1]] += len(c.rules)
			}
			if len(found) == 0 {
				continue // before the first commit
			}
			whole++
			for colour, n := range found {
				seen[colour] = true
				if len(found) == 1 && n == chains*rules {
					continue
				}
				if torn++; torn <= 3 {
					t.Errorf("reading %d is a mixture: %v", whole, found)
				}
			}
		}
		t.Logf("%d readings, %d of them torn, %d given up", whole, torn, given)
		if whole < 20 || len(seen) != 2 {
			t.Errorf("read %d times, saw %v", whole, seen)
		}
	})
}
