package audit

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
	"github.com/portgrave/portgrave/firewall/exposure/xtables"
	"github.com/portgrave/portgrave/firewall/exposure/xtinfo"
	"github.com/portgrave/portgrave/policy"
)

const closed6 = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"

// imported is the import of rules for IPv4, with IPv6 closed.
func imported(t *testing.T, o ImportOptions, four string, listeners ...string) (Imported, Input) {
	t.Helper()
	rs := rules(t, four)
	if err := xtables.ReadSave("rules.v6", exposure.FamilyIPv6, strings.NewReader(closed6), xtables.NewSets(), rs); err != nil {
		t.Fatal(err)
	}
	rs.MarkDynamic()
	in := Input{Rules: rs, Host: world(), Sockets: listening(listeners...), Now: time.Now()}
	out, err := Import(context.Background(), in, o)
	if err != nil {
		t.Fatal(err)
	}
	return out, in
}

// documentOf writes what was imported, without comments.
func documentOf(found Imported) string {
	d := policy.Draft{
		Unlisted: found.Unlisted,
		Refuse:   found.Refuse,
		Closed:   found.Closed,
		Direct:   found.Direct,
	}
	for _, n := range found.Networks {
		d.Networks = append(d.Networks, policy.DraftNetwork{Name: n.Name, Sources: n.Sources})
	}
	for _, x := range found.Services {
		d.Services = append(
			d.Services,
			policy.DraftService{Service: x.Service, Purpose: x.Purpose, Idle: x.Idle},
		)
	}
	return d.Document()
}

// A policy imported from a host describes what was reachable: with it, nothing changes and nothing
// is undeclared.
func TestImport(t *testing.T) {
	found, in := imported(t, ImportOptions{}, closed+docker,
		"sshd 0.0.0.0:22", "sshd 0.0.0.0:2222", "9p 127.0.0.1:564")
	document := documentOf(found)
	want := `version: 1
unlisted: deny
essentials: {echo: false, neighbour-discovery: false, dhcp: false, multicast-membership: false}
direct: {interfaces: [br0]}
services:
  - name: sshd
    port: 22
    allow: [203.0.113.0/24]
  - name: http-alt
    port: 8080
    interfaces: [eth0]
    allow: [0.0.0.0/0]
`
	if diff := cmp.Diff(want, document); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	before, err := Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	in.Policy = state(t, strings.TrimPrefix(document, "version: 1\n"))
	after, err := Run(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	if len(after.Findings) != 0 {
		t.Errorf("findings after import: %+v", after.Findings)
	}
	// A policy can't reproduce ports that no service opens.
	before.Exposures = slices.DeleteFunc(
		before.Exposures,
		func(x Exposure) bool { return x.Direct },
	)
	a, _ := summaryOf(after)
	b, _ := summaryOf(before)
	for _, rows := range [][]string{a, b} {
		for i, row := range rows {
			rows[i] = row[:strings.LastIndex(row, " ")]
		}
	}
	if diff := cmp.Diff(b, a); diff != "" {
		t.Error(diff)
	}
}

// An unknown condition becomes a rate, or its sources are omitted or, with IncludeUnknown,
// included. The import names the rule in each case.
func TestImportNamesUnknownRules(t *testing.T) {
	head := "*filter\n:INPUT DROP [0:0]\n:slow - [0:0]\n-A slow -j LOG\n-A slow -j REJECT\n"
	office := address.Must("192.0.2.0/24")
	everyone := address.Must("0.0.0.0/0")
	minute := func(n, burst uint32) *firewall.Rate {
		return &firewall.Rate{Count: n, Per: time.Minute, Burst: burst}
	}
	for _, tt := range []struct {
		rules    string
		certain  address.Set
		possible address.Set
		rate     *firewall.Rate
	}{
		{"-A INPUT -p tcp --dport 22 -j ACCEPT", everyone, everyone, nil},
		{"-A INPUT -p tcp --dport 22 -m mac --mac-source 02:00:00:00:00:01 -j ACCEPT", address.Set{}, everyone, nil},
		{"-A INPUT -p tcp --dport 22 -m string --string x --algo bm -j DROP\n-A INPUT -p tcp --dport 22 -s 192.0.2.0/24 -j ACCEPT",
			address.Set{}, office, nil},
		{"-A INPUT -p tcp --dport 22 -s 192.0.2.0/24 -j ACCEPT\n-A INPUT -p tcp --dport 22 --sport 1024 -j ACCEPT", office, everyone, nil},
		{`-A INPUT -p tcp --dport 22 -m string --string "x --limit 3/min" --algo bm -j ACCEPT`, address.Set{}, everyone, nil},
		{"-A INPUT -p tcp --dport 22 -m connlimit --connlimit-upto 3 -j ACCEPT", address.Set{}, everyone, nil},
		{"-A INPUT -p tcp --dport 22 -m limit --limit 6/min --limit-burst 3 -j ACCEPT", everyone, everyone, minute(6, 3)},
		{"-A INPUT -p tcp --dport 22 -m limit --limit 6/min --limit-burst 3 -j DROP\n-A INPUT -p tcp --dport 22 -j ACCEPT",
			address.Set{}, everyone, nil}, // lets in sources that are too fast
		{"-A INPUT -p tcp --dport 22 -m hashlimit --hashlimit-above 9/min --hashlimit-burst 4 --hashlimit-mode srcip --hashlimit-name s -j DROP\n" +
			"-A INPUT -p tcp --dport 22 -j ACCEPT", everyone, everyone, minute(9, 4)},
		{"-A INPUT -p tcp --dport 22 -m recent --set --name S --rsource\n" +
			"-A INPUT -p tcp --dport 22 -m recent --update --seconds 30 --hitcount 6 --name S --rsource -j slow\n" +
			"-A INPUT -p tcp --dport 22 -j ACCEPT", everyone, everyone, minute(10, 5)},
		{"-A INPUT -p tcp --dport 22 -m recent --rcheck --seconds 30 --name KNOCK --rsource -j ACCEPT", address.Set{}, everyone, nil},
		{"-A INPUT -p tcp --dport 22 -m recent --rcheck --seconds 30 --hitcount 3 --name KNOCK --rsource -j ACCEPT",
			address.Set{}, everyone, nil},
	} {
		for _, wide := range []bool{false, true} {
			want := tt.certain
			if wide {
				want = tt.possible
			}
			found, _ := imported(
				t,
				ImportOptions{IncludeUnknown: wide},
				head+tt.rules+"\nCOMMIT\n",
				"sshd 0.0.0.0:22",
			)
			if len(found.Services) != 1 {
				t.Errorf("%s\n%+v", tt.rules, found)
				continue
			}
			s := found.Services[0]
			if !s.Sources.Equal(want) || !cmp.Equal(s.Rate, tt.rate) {
				t.Errorf(
					"%s\nwide %v: %v, rate %v; want %v, %v",
					tt.rules,
					wide,
					s.Sources,
					s.Rate,
					want,
					tt.rate,
				)
			}
			unknown := !tt.certain.Equal(tt.possible)
			if got := len(s.Unknown) > 0; got != unknown ||
				unknown && !strings.Contains(s.Unknown[0], "chain INPUT") ||
				(len(s.Rated) > 0) != (tt.rate != nil) {
				t.Errorf("%s\nwide %v: unknown %q, rated %q", tt.rules, wide, s.Unknown, s.Rated)
			}
		}
	}
}

// A service has one rate, so the import names the sources that it limits and the rules don't, and
// the rates that count all sources together.
func TestImportSaysWhatRatesChange(t *testing.T) {
	const head = "*filter\n:INPUT DROP [0:0]\n"
	const limit = "-A INPUT -p tcp --dport 22 -m limit --limit 6/min --limit-burst 3 -j ACCEPT\n"
	const hash = "-A INPUT -p tcp --dport 22 -m hashlimit --hashlimit-upto 6/min --hashlimit-mode %s --hashlimit-name s -j ACCEPT\n"
	for _, tt := range []struct {
		rules  string
		note   string
		shared bool
	}{
		{limit, "", true},
		{"-A INPUT -p tcp --dport 22 -s 192.0.2.0/24 -j ACCEPT\n" + limit,
			"service sshd: the rate holds for 192.0.2.0/24 too, which the old rules don't limit", true},
		{"-A INPUT -p tcp --dport 22 -s 10.0.0.1 -j DROP\n" + fmt.Sprintf(hash, "srcip"), "", false},
		{fmt.Sprintf(hash, "dstip"), "", true},
		{fmt.Sprintf(hash, "srcip,dstport"), "", false},
	} {
		found, _ := imported(t, ImportOptions{}, head+tt.rules+"COMMIT\n", "sshd 0.0.0.0:22")
		if len(found.Services) != 1 || found.Services[0].Rate == nil ||
			len(found.Services[0].Rated) != 1 {
			t.Fatalf("%s: %+v", tt.rules, found)
		}
		s := found.Services[0]
		if got := strings.HasSuffix(s.Rated[0], "(it counts all sources together, the policy each on its own)"); got != tt.shared {
			t.Errorf("%s: %s", tt.rules, s.Rated)
		}
		notes := strings.Join(found.Notes, "\n")
		if tt.note == "" && (strings.Contains(notes, "holds for") || s.Unlimited.Len() > 0) ||
			!strings.Contains(notes, tt.note) {
			t.Errorf("%s: %q", tt.rules, found.Notes)
		}
	}
}

// If the rules distinguish too many ports, the import opens no port that was closed.
func TestImportOfTooManyPorts(t *testing.T) {
	var b strings.Builder
	b.WriteString(
		"*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp --dport 1 -j ACCEPT\n-A INPUT -p tcp --dport 22 -j ACCEPT\n" +
			"-A INPUT -p tcp --dport 8000:12000 -s 192.0.2.0/24 -j ACCEPT\n",
	)
	for port := 20_001; port < 44_000; port += 2 {
		fmt.Fprintf(&b, "-A INPUT -p tcp --dport %d -j ACCEPT\n", port)
	}
	b.WriteString("COMMIT\n")
	rs := &exposure.Ruleset{}
	err := nfttext.Read(
		"f",
		strings.NewReader(
			"table inet t {\n chain c {\n  type filter hook input priority 0; policy drop;\n"+
				"  tcp dport 22 accept\n  tcp dport & 1 == 1 accept\n }\n}\n",
		),
		rs,
	)
	if err != nil {
		t.Fatal(err)
	}
	computed := Input{
		Rules:   rs,
		Host:    world(),
		Sockets: listening("sshd 0.0.0.0:22"),
		Now:     time.Now(),
	}
	fromComputed, err := Import(context.Background(), computed, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fromMany, _ := imported(t, ImportOptions{}, b.String(), "sshd 0.0.0.0:22")
	for name, found := range map[string]Imported{"many": fromMany, "computed": fromComputed} {
		if found.Unlisted != firewall.UnlistedDeny {
			t.Errorf("%s: %v", name, found.Unlisted)
		}
		sshd := false
		for _, s := range found.Services {
			for _, r := range s.Ports {
				sshd = sshd || r.Contains(firewall.TCP, 22)
				office := r == firewall.PortRange{
					Protocol: firewall.TCP,
					First:    8000,
					Last:     12000,
				} &&
					s.Sources.Equal(address.Must("192.0.2.0/24"))
				oddPort := name == "many" && (r.First == 1 || r.First > 20_000 && r.First%2 == 1)
				if r.Protocol.HasPorts() && !office &&
					(r.First != r.Last || r.Protocol != firewall.TCP || r.First != 22 && !oddPort) {
					t.Errorf("%s: %v open to %v", name, r, s.Sources)
				}
			}
		}
		if !sshd ||
			!slices.ContainsFunc(
				found.Notes,
				func(n string) bool { return strings.Contains(n, "too many ports") },
			) {
			t.Errorf("%s: %d services, notes %q", name, len(found.Services), found.Notes)
		}
	}
}

// Each reader's rates become rates of the policy. Other matches don't.
func TestRateOf(t *testing.T) {
	save := func(match string) exposure.Rate {
		rs := &exposure.Ruleset{}
		text := "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT " + match + " -j DROP\nCOMMIT\n"
		err := xtables.ReadSave("f", exposure.FamilyIPv4, strings.NewReader(text), nil, rs)
		if err != nil {
			t.Fatalf("%s: %v", match, err)
		}
		return rateOfFirst(rs)
	}
	nft := func(statement string) exposure.Rate {
		rs := &exposure.Ruleset{}
		text := "table inet t {\n chain c {\n  type filter hook input priority 0; policy accept;\n  " +
			statement + " drop\n }\n}\n"
		if err := nfttext.Read("f", strings.NewReader(text), rs); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		return rateOfFirst(rs)
	}
	info := func(name string, revision uint32, data []byte) exposure.Rate {
		statements, _ := xtinfo.Match(
			xtinfo.Context{},
			xtinfo.Info{Name: name, Revision: revision, Data: data},
		)
		return rateOf(statements)
	}
	limit := func(avg, burst uint32) exposure.Rate {
		data := make([]byte, 40)
		return info("limit", 0, put(data, 0, avg, burst))
	}
	const dest, destPort, source, sourcePort, over, bytes = 1, 2, 4, 8, 16, 32
	hashlimit := func(avg uint64, burst uint64, mode uint32) exposure.Rate {
		data := put(make([]byte, 328), 256, uint32(avg), uint32(avg>>32), uint32(burst), 0, mode)
		return info("hashlimit", 3, data)
	}
	const check, set, update, remove = 1, 2, 4, 8
	recent := func(verb, invert byte, seconds, hits uint32) exposure.Rate {
		data := put(make([]byte, 228), 0, seconds, hits)
		data[8], data[9] = verb, invert
		return info("recent", 1, data)
	}
	byDestination := put(make([]byte, 228), 0, 30, 6)
	byDestination[8], byDestination[210] = check, 1

	for _, tt := range []struct {
		name string
		rate exposure.Rate
		want string
	}{
		{"nft limit", nft("limit rate 5/second burst 5 packets"), "5/1s/5 upto shared"},
		{"nft limit over", nft("limit rate over 10/minute burst 7 packets"), "10/1m0s/7 over shared"},
		{"nft limit a week", nft("limit rate 7/week"), "1/24h0m0s/5 upto shared"},
		{"nft limit, many a week", nft("limit rate 1000/week"), "142/24h0m0s/5 upto shared"},
		{"nft limit of bytes", nft("limit rate 10 kbytes/second"), "unknown"},
		{"nft quota", nft("quota over 10 mbytes"), "unknown"},
		{"binary limit, one in 20 s", limit(200_000, 5), "3/1m0s/5 upto shared"},
		{"binary limit, one in 20 ms", limit(200, 100), "50/1s/100 upto shared"},
		{"binary limit, one in 0 s", limit(0, 5), "unknown"},
		{"binary hashlimit over", hashlimit(6_000_000, 4, over|source), "10/1m0s/4 over"},
		{"binary hashlimit", hashlimit(6_000_000, 4, source|destPort), "10/1m0s/4 upto"},
		{"binary hashlimit by port", hashlimit(6_000_000, 4, sourcePort|dest), "10/1m0s/4 upto shared"},
		{"binary hashlimit by destination", hashlimit(6_000_000, 4, over|dest), "10/1m0s/4 over shared"},
		{"binary hashlimit, one in ages", hashlimit(1<<63, 4, source), "1/24h0m0s/4 upto"},
		{"binary hashlimit of bytes", hashlimit(6_000_000, 4, bytes|source), "unknown"},
		{"binary recent", recent(update, 0, 30, 6), "10/1m0s/5 over"},
		{"binary recent, inverted", recent(update, 1, 30, 6), "unknown"},
		{"binary recent by destination", info("recent", 1, byDestination), "10/1m0s/5 over shared"},
		{"binary recent set", recent(set, 0, 0, 0), "records"},
		{"binary recent remove", recent(remove, 0, 30, 6), "unknown"},
		{"binary recent without hits", recent(check, 0, 30, 0), "unknown"},
		{"limit", save("-m limit"), "3/1h0m0s/5 upto shared"},
		{"limit 30/min", save("-m limit --limit 30/min --limit-burst 9"), "30/1m0s/9 upto shared"},
		{"limit negated", save("-m limit ! --limit 30/min"), "unknown"},
		{"hashlimit", save("-m hashlimit --hashlimit 2/hour --hashlimit-name x"), "2/1h0m0s/5 upto shared"},
		{"hashlimit by source", save("-m hashlimit --hashlimit-upto 2/hour --hashlimit-mode srcip,dstport"), "2/1h0m0s/5 upto"},
		{"hashlimit by destination", save("-m hashlimit --hashlimit-upto 2/hour --hashlimit-mode dstip"), "2/1h0m0s/5 upto shared"},
		{"hashlimit of bytes", save("-m hashlimit --hashlimit-upto 512kb/s --hashlimit-mode srcip"), "unknown"},
		{"hashlimit, fast", save("-m hashlimit --hashlimit-above 99999999999/sec --hashlimit-burst 3"), "1000000/1s/3 over shared"},
		{"hashlimit, beyond 64 bits", save("-m hashlimit --hashlimit-above 99999999999999999999/sec"), "1000000/1s/5 over shared"},
		{"hashlimit named as an option", save(`-m hashlimit --hashlimit-name "x --hashlimit 5/sec"`), "unknown"},
		{"recent by source", save("-m recent --rcheck --seconds 60 --hitcount 4 --name S --rsource"), "3/1m0s/3 over"},
		{"recent by destination", save("-m recent --rcheck --seconds 60 --hitcount 4 --name S --rdest"), "3/1m0s/3 over shared"},
		{"recent in no time", save("-m recent --update --seconds 0 --hitcount 1 --name S"), "unknown"},
		{"recent remove", save("-m recent --remove --seconds 60 --hitcount 4 --name S"), "unknown"},
		{"recent negated", save("-m recent ! --update --seconds 60 --hitcount 4 --name S"), "unknown"},
		{"recent set", save("-m recent --set --name S --rsource"), "records"},
		{"recent without options", save("-m recent"), "unknown"},
		{"connlimit", save("-m connlimit --connlimit-above 3"), "unknown"},
		{"string like limit", save(`-m string --string "x --limit 3/min" --algo bm`), "unknown"},
		{"string like hashlimit", save(`-m string --string "x --hashlimit-above 3/min" --algo bm`), "unknown"},
		{"string like recent", save(`-m string --string "-m recent --set --seconds 3 --hitcount 4"`), "unknown"},
		{"string like nft", save(`-m string --string "x limit rate 5/second" --algo bm`), "unknown"},
		{"another match", save("-m limiter --limit 3/min"), "unknown"},
	} {
		got := "unknown"
		switch {
		case tt.rate.Records:
			got = "records"
		case tt.rate.Known():
			p := policyRate(tt.rate)
			got = fmt.Sprintf("%d/%v/%d ", p.Count, p.Per, p.Burst) +
				map[bool]string{false: "upto", true: "over"}[tt.rate.Over]
			if tt.rate.Shared {
				got += " shared"
			}
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

// put writes numbers into a struct of the kernel, from an offset on.
func put(data []byte, at int, numbers ...uint32) []byte {
	for i, n := range numbers {
		binary.NativeEndian.PutUint32(data[at+4*i:], n)
	}
	return data
}

// rateOfFirst is the rate of a ruleset's only rule.
func rateOfFirst(rs *exposure.Ruleset) exposure.Rate {
	return rateOf(rs.Tables[0].Chains[0].Rules[0].Statements)
}

// rateOf is the rate that a rule's first unknown match allows.
func rateOf(statements []exposure.Statement) exposure.Rate {
	for _, s := range statements {
		if u, ok := s.(exposure.Unknown); ok && !u.Effect {
			return u.Rate
		}
	}
	return exposure.Rate{}
}
