package audit

import (
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
)

// Sources that no client can have are filled in where a list gets shorter, and not in the middle of
// a network that is left out.
func TestSimplestSources(t *testing.T) {
	nowhere := martians().union(
		sourcesOf(address.Must("10.8.0.1/32", "10.8.0.255/32", "fd00:8::1/128"), address.Families...),
	)
	all := sourcesOf(address.Must("0.0.0.0/0", "::/0"), address.Families...)
	for without, want := range map[string]string{
		"":             "",
		"10.8.0.0/24":  "10.8.0.0/24",
		"fd00:8::/64":  "fd00:8::/64",
		"fd00:8::1/32": "fd00:8::/32",
		"10.8.0.1/32":  "",
		"126.0.0.0/7":  "126.0.0.0/7",
	} {
		set := all.minus(nowhere)
		if without != "" {
			set = set.minus(sourcesOf(address.Must(without), address.Families...))
		}
		_, out := set.simplest(nowhere).Short()
		if got := strings.Join(out.Strings(), " "); got != want {
			t.Errorf("without %s: without %s, want %s", without, got, want)
		}
	}
}
