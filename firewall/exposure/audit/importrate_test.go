package audit

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/nfttext"
	"github.com/portgrave/portgrave/firewall/exposure/xtinfo"
)

// Rules count packets in other ways than a policy. The comments say how.
func TestImportSaysHowRatesCount(t *testing.T) {
	const hash = "-A INPUT -p tcp -m multiport --dports %s -m hashlimit --hashlimit-upto 6/min " +
		"--hashlimit-mode %s --hashlimit-name s -j ACCEPT\n"
	const recent = "-A INPUT -p tcp --dport %d -m recent --update --seconds 60 --hitcount 4 --name L %s-j DROP\n"
	for _, tt := range []struct{ rules, says string }{
		{fmt.Sprintf(hash, "22", "srcip"), ""},
		{fmt.Sprintf(hash, "22", "srcip --hashlimit-srcmask 24"),
			"(it counts each /24 of sources together, the policy each source on its own)"},
		{fmt.Sprintf(hash, "22", "srcip --hashlimit-srcmask 32"), ""},
		{fmt.Sprintf(hash, "22", "srcip,srcport"),
			"(it counts each client port of a source on its own, the policy all together)"},
		{fmt.Sprintf(hash, "22", "srcip,dstip"),
			"(it counts each of this host's addresses on its own, the policy all together)"},
		{fmt.Sprintf(hash, "22", "srcip,dstport"), ""},
		{fmt.Sprintf(hash, "22,80", "srcip"),
			"(it counts sshd, web together, the policy each on its own)"},
		{fmt.Sprintf(hash, "22,80", "srcip,dstport"), ""},
		{fmt.Sprintf(hash, "22,2222", "srcip"), ""}, // one service
		{fmt.Sprintf(hash, "22,2222", "srcip,dstport"),
			"(it counts each port on its own, the policy the service's together)"},
		{fmt.Sprintf(recent, 22, "") + fmt.Sprintf(recent, 80, "") +
			"-A INPUT -p tcp -m multiport --dports 22,80 -m recent --set --name L -j ACCEPT\n",
			"(it counts sshd, web together, the policy each on its own)"},
		{fmt.Sprintf(recent, 22, "--mask 255.255.255.0 ") + "-A INPUT -p tcp --dport 22 -j ACCEPT\n",
			"(it counts each /24 of sources together, the policy each source on its own)"},
	} {
		out := mustImport(
			t,
			denyAll+tt.rules,
			denyAll,
			"sshd 0.0.0.0:22",
			"sshd 0.0.0.0:2222",
			"web 0.0.0.0:80",
		)
		s := serviceFor(out, firewall.TCP, 22)
		if s == nil || len(s.Rated) == 0 {
			t.Errorf("%s%+v", tt.rules, out.Services)
			continue
		}
		if !strings.HasSuffix(s.Rated[0], tt.says) ||
			tt.says == "" && strings.Contains(s.Rated[0], "(it counts") {
			t.Errorf("%s%q", tt.rules, s.Rated)
		}
	}
}

// A look-up of recent's list before the packet is recorded there lets one packet more through.
func TestImportOfRecentBeforeItRecords(t *testing.T) {
	const check = "-A INPUT -p tcp --dport 22 -m recent --rcheck --seconds 60 --hitcount 3 --name S -j DROP\n"
	const set = "-A INPUT -p tcp --dport 22 -m recent --set --name %s -j ACCEPT\n"
	const record = "-A INPUT -p tcp --dport 22 -m recent --set --name S\n"
	for rules, want := range map[string]firewall.Rate{
		check + fmt.Sprintf(set, "S"):          {Count: 3, Per: time.Minute, Burst: 3},
		record + check + fmt.Sprintf(set, "S"): {Count: 2, Per: time.Minute, Burst: 2},
		check + fmt.Sprintf(set, "other"):      {Count: 2, Per: time.Minute, Burst: 2},
	} {
		s := serviceFor(mustImport(t, denyAll+rules, denyAll, "sshd 0.0.0.0:22"), firewall.TCP, 22)
		if s == nil || s.Rate == nil {
			t.Errorf("%s%+v", rules, s)
		} else if diff := cmp.Diff(want, *s.Rate); diff != "" {
			t.Errorf("%s%s", rules, diff)
		}
	}
}

// The kernel's structs and iptables-save tell the same rate.
func TestReadersAgreeOnRates(t *testing.T) {
	hashlimit := put(make([]byte, 328), 256, 10_000_000, 0, 5, 0, 4|8|1|2)
	hashlimit[296] = 24
	recent := put(make([]byte, 228), 0, 60, 4)
	recent[8] = 4 // update
	copy(recent[10:], "L")
	copy(recent[212:], []byte{255, 255, 255, 0})
	whole := slices.Clone(recent)
	copy(whole[212:], bytes.Repeat([]byte{255}, 16))
	set := slices.Clone(whole)
	set[8] = 2
	for _, tt := range []struct {
		match string
		info  xtinfo.Info
	}{
		{"-m hashlimit --hashlimit-upto 6/min --hashlimit-mode srcip,srcport,dstip,dstport " +
			"--hashlimit-srcmask 24 --hashlimit-burst 5 --hashlimit-name s",
			xtinfo.Info{Name: "hashlimit", Revision: 3, Data: hashlimit}},
		{"-m recent --update --seconds 60 --hitcount 4 --name L --mask 255.255.255.0 --rsource",
			xtinfo.Info{Name: "recent", Revision: 1, Data: recent}},
		{"-m recent --update --seconds 60 --hitcount 4 --name L --mask 255.255.255.255 --rsource",
			xtinfo.Info{Name: "recent", Revision: 1, Data: whole}},
		{"-m recent --set --name L --mask 255.255.255.255 --rsource",
			xtinfo.Info{Name: "recent", Revision: 1, Data: set}},
	} {
		statements, _ := xtinfo.Match(xtinfo.Context{}, tt.info)
		binary := rateOf(statements)
		text := rateOfFirst(rules(t, denyAll+"-A INPUT "+tt.match+" -j ACCEPT\nCOMMIT\n"))
		if binary.Per == 10*time.Second && binary.Count == 1 { // one in 10 seconds is 6/min
			binary.Count, binary.Per = 6, time.Minute
		}
		if diff := cmp.Diff(text, binary); diff != "" || !text.Known() {
			t.Errorf("%s: (-text +binary):\n%s", tt.match, diff)
		}
	}
}

// nft's sets count each element, so the key says what is counted together.
func TestImportSaysHowSetsCount(t *testing.T) {
	for key, says := range map[string]string{
		"ip saddr":                        "",
		"ip saddr & 255.255.255.0":        "(it counts each /24 of sources together, the policy each source on its own)",
		"ip saddr . tcp sport":            "(it counts each client port of a source on its own, the policy all together)",
		"ip saddr . tcp dport":            "",
		"tcp dport":                       "(it counts all sources together, the policy each on its own)",
		"ip saddr . ip daddr . tcp dport": "(it counts each of this host's addresses on its own, the policy all together)",
	} {
		rs := &exposure.Ruleset{}
		kind := strings.NewReplacer("ip saddr & 255.255.255.0", "ipv4_addr", "ip saddr", "ipv4_addr",
			"ip daddr", "ipv4_addr", "tcp sport", "inet_service", "tcp dport", "inet_service").
			Replace(key)
		err := nfttext.Read(
			"f",
			strings.NewReader("table ip t {\n set s { type "+kind+"; flags dynamic; }\n"+
				" chain c {\n  type filter hook input priority 0; policy drop;\n"+
				"  tcp dport 22 add @s { "+key+" limit rate 6/minute } accept\n }\n}\n"),
			rs,
		)
		if err != nil {
			t.Fatal(err)
		}
		rs.MarkDynamic()
		out, err := Import(context.Background(), Input{Rules: rs, Host: world(),
			Sockets: listening("sshd 0.0.0.0:22"), Now: time.Now()}, ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s := serviceFor(out, firewall.TCP, 22)
		if s == nil || len(s.Rated) != 1 || !strings.HasSuffix(s.Rated[0], says) ||
			says == "" && strings.Contains(s.Rated[0], "(it counts") {
			t.Errorf("%s: %+v", key, s)
		}
	}
}

// A named limit becomes a rate. All rules that name it count together.
func TestImportOfNamedLimits(t *testing.T) {
	rs := &exposure.Ruleset{}
	err := nfttext.Read("f", strings.NewReader("table ip t {\n chain c {\n"+
		"  type filter hook input priority 0; policy drop;\n"+
		"  tcp dport 22 limit rate 6/minute accept\n  tcp dport 80 limit rate 6/minute accept\n }\n}\n"), rs)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs.Tables[0].Chains[0].Rules {
		for i, st := range r.Statements {
			if u, ok := st.(exposure.Unknown); ok { // as the kernel's rules are read
				u.Rate.List = "lim"
				r.Statements[i] = u
			}
		}
	}
	out, err := Import(context.Background(), Input{Rules: rs, Host: world(),
		Sockets: listening("sshd 0.0.0.0:22", "web 0.0.0.0:80"), Now: time.Now()}, ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := serviceFor(out, firewall.TCP, 22)
	if s == nil || s.Rate == nil || s.Rate.Count != 6 || len(s.Rated) != 1 ||
		!strings.HasSuffix(
			s.Rated[0],
			"(it counts sshd, web together, the policy each on its own)",
		) {
		t.Errorf("%+v", s)
	}
}
