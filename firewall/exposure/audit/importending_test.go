package audit

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
)

// Who gets in only until an element of a set expires isn't let in for good, and the import says
// until when. Who is barred for a time stays barred.
func TestImportOmitsWhatEnds(t *testing.T) {
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	const ipsets = "create guests hash:ip family inet timeout 0\nadd guests 203.0.113.7 timeout 3600\nadd guests 203.0.113.8\n" +
		"create bans hash:ip family inet timeout 0\nadd bans 203.0.113.66 timeout 60\n"
	office := address.Must("192.0.2.0/24")
	for _, tt := range []struct {
		name, rules string
		want        address.Set
		ending      string // "" if nothing ends
		barred      bool
	}{
		{"guests", "-A INPUT -p tcp --dport 22 -m set --match-set guests src -j ACCEPT\n",
			address.Must("203.0.113.8/32"), `{cidr: "203.0.113.7", expires: "2026-11-30T13:00:00Z"}`, false},
		{"guests and the office", "-A INPUT -p tcp --dport 22 -s 192.0.2.0/24 -j ACCEPT\n-A INPUT -p tcp -m set --match-set guests src -j ACCEPT\n",
			office.Union(address.Must("203.0.113.8/32")), "by set guests", false},
		{"guests who get in anyway", "-A INPUT -p tcp --dport 22 -s 203.0.113.0/24 -j ACCEPT\n-A INPUT -p tcp --dport 22 -m set --match-set guests src -j ACCEPT\n",
			address.Must("203.0.113.0/24"), "", false},
		{"bans", "-A INPUT -m set --match-set bans src -j DROP\n-A INPUT -p tcp --dport 22 -s 203.0.113.64/26 -j ACCEPT\n",
			address.Must("203.0.113.64/26").Minus(address.Must("203.0.113.66/32")), "", true},
		{"a guest, perhaps", "-A INPUT -m mac --mac-source 02:00:00:00:00:01 -m set --match-set guests src -j ACCEPT\n-A INPUT -p tcp --dport 22 -s 192.0.2.0/24 -j ACCEPT\n",
			office, "203.0.113.7", false},
	} {
		for _, wide := range []bool{false, true} {
			sets := xtables.NewSets()
			if err := sets.Read("sets", strings.NewReader(ipsets), now); err != nil {
				t.Fatal(err)
			}
			rs := &exposure.Ruleset{}
			for f, text := range map[exposure.Family]string{exposure.FamilyIPv4: denyAll + tt.rules, exposure.FamilyIPv6: denyAll} {
				if err := xtables.ReadSave("rules", f, strings.NewReader(text+"COMMIT\n"), sets, rs); err != nil {
					t.Fatal(err)
				}
			}
			rs.MarkDynamic()
			in := Input{Rules: rs, Host: world(), Sockets: listening("sshd 0.0.0.0:22"), Now: now}
			out, err := Import(context.Background(), in, ImportOptions{IncludeUnknown: wide})
			if err != nil {
				t.Fatal(err)
			}
			s := serviceFor(out, firewall.TCP, 22)
			if s == nil {
				t.Errorf("%s: no service: %+v", tt.name, out)
				continue
			}
			if !s.Sources.Equal(tt.want) && !(wide && strings.HasSuffix(tt.name, "perhaps")) ||
				s.Sources.Contains(netip.MustParseAddr("203.0.113.7")) && tt.ending != "" {
				t.Errorf(
					"%s, wide %v: %v, want %v",
					tt.name,
					wide,
					s.Sources.Strings(),
					tt.want.Strings(),
				)
			}
			var words []string
			for _, e := range s.Ending {
				words = append(words, e.String())
			}
			if text := strings.Join(words, "\n"); !strings.Contains(text, tt.ending) ||
				tt.ending == "" && text != "" {
				t.Errorf("%s: ending %q", tt.name, words)
			}
			notes := strings.Join(out.Notes, "\n")
			if strings.Contains(notes, "bar 203.0.113.66/32 for a time") != tt.barred {
				t.Errorf("%s: notes %q", tt.name, out.Notes)
			}
		}
	}
}
