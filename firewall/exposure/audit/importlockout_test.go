package audit

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
)

// Where a rule that can't be decided leaves no source of a family for a listener, the first note
// says so, in which family, by which rule, and whom --include-unknown allows.
func TestImportWarnsOfLockouts(t *testing.T) {
	const drop = "-A INPUT -m string --string x --algo bm -j DROP\n"
	for _, tt := range []struct {
		name, four, six string
		wide            bool
		says, never     []string
	}{
		{"IPv4 alone", acceptAll + drop, acceptAll, false,
			[]string{"to sshd (tcp/22) over ipv4, web (tcp/80) over ipv4, since", "(ip filter chain INPUT, rules.v4:3: " + strings.TrimSpace(drop) + ")",
				"--include-unknown allows 0.0.0.0/0"}, []string{"::/0"}},
		{"IPv6 alone", acceptAll, acceptAll + drop, false,
			[]string{"to sshd (tcp/22) over ipv6, web (tcp/80) over ipv6, since", "--include-unknown allows ::/0"}, []string{"0.0.0.0/0"}},
		{"both", acceptAll + drop, acceptAll + drop, false,
			[]string{"to sshd (tcp/22), web (tcp/80), since", "--include-unknown allows 0.0.0.0/0, ::/0"}, []string{" over "}},
		{"one port", acceptAll + "-A INPUT -p tcp --dport 22 -m string --string x --algo bm -j DROP\n", acceptAll, false,
			[]string{"to sshd (tcp/22) over ipv4, since"}, []string{"web"}},
		{"nobody but the office anyway", denyAll + drop + "-A INPUT -s 203.0.113.0/24 -p tcp --dport 22 -j ACCEPT\n", denyAll, false,
			[]string{"to sshd (tcp/22), since", "--include-unknown allows 203.0.113.0/24"}, []string{"web"}},
		{"somebody certainly gets in", denyAll + "-A INPUT -s 203.0.113.0/24 -j ACCEPT\n" + drop + "-A INPUT -p tcp --dport 22 -j ACCEPT\n",
			denyAll, false, nil, []string{"nobody gets in"}},
		{"taken in", acceptAll + drop, acceptAll, true, nil, []string{"nobody gets in"}},
		{"a rate", acceptAll + "-A INPUT -p tcp --dport 22 -m hashlimit --hashlimit-above 9/min --hashlimit-mode srcip --hashlimit-name s -j DROP\n",
			acceptAll, false, nil, []string{"nobody gets in"}},
	} {
		rs := rules(t, tt.four+"COMMIT\n")
		err := xtables.ReadSave(
			"rules.v6",
			exposure.FamilyIPv6,
			strings.NewReader(tt.six+"COMMIT\n"),
			xtables.NewSets(),
			rs,
		)
		if err != nil {
			t.Fatal(err)
		}
		rs.MarkDynamic()
		in := Input{
			Rules:   rs,
			Host:    world(),
			Sockets: listening("sshd [::]:22", "web [::]:80"),
			Now:     time.Now(),
		}
		out, err := Import(context.Background(), in, ImportOptions{IncludeUnknown: tt.wide})
		if err != nil {
			t.Fatal(err)
		}
		first := strings.Join(out.Notes, "\n")
		if len(tt.says) > 0 {
			first = out.Notes[0]
		}
		for _, s := range append(tt.says, "") {
			if !strings.Contains(first, s) {
				t.Errorf("%s: the first note doesn't say %q: %q", tt.name, s, first)
			}
		}
		for _, s := range tt.never {
			if strings.Contains(first, s) {
				t.Errorf("%s: the first note says %q: %q", tt.name, s, first)
			}
		}
		ssh := serviceFor(out, firewall.TCP, 22)
		if tt.wide && strings.Contains(first, "rules close ports") {
			t.Errorf("%s: notes %q", tt.name, out.Notes)
		}
		if ssh == nil ||
			(ssh.Withheld.Len() > 0) != (len(tt.says) > 0 || strings.HasPrefix(tt.name, "somebody")) {
			t.Errorf("%s: %+v", tt.name, ssh)
		}
	}
}
