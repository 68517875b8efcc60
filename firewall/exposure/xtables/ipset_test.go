package xtables

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/exposure/exposuretest"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Each kind of set and element, as ipset 7.17 prints them.
func TestSets(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ create, add, want string }{
		{"hash:ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xa0a03e65", "192.0.2.1", "{0xc0000201}"},
		{"hash:ip family inet timeout 100 counters comment skbinfo", `192.0.2.1 timeout 5 packets 1 bytes 2 comment "a b" skbmark 0x1/0xff skbprio 1:2 skbqueue 3`, "{0xc0000201}"},
		{"hash:ip family inet", "10.0.0.0/30", "{0xa000000-0xa000003}"},
		{"hash:ip family inet", "10.0.0.1-10.0.0.9", "{0xa000001-0xa000009}"},
		{"hash:ip family inet netmask 24", "10.1.2.0", "{0xa010200-0xa0102ff}"},
		{"hash:ip family inet bitmask 255.255.0.255", "10.1.0.3", "{0xa010003}"},
		{"hash:ip family inet6", "2001:db8::1", "{0x20010db8000000000000000000000001}"},
		{"hash:net family inet", "10.0.0.0/8;192.0.2.1;10.0.0.0-10.0.0.2", "{0xa000000-0xaffffff, 0xc0000201, 0xa000000-0xa000001, 0xa000002}"},
		{"hash:net family inet", "10.0.0.0/8;10.1.0.0/16 nomatch;10.1.2.0/24", "{0xa000000-0xa00ffff, 0xa010200-0xa0102ff, 0xa020000-0xaffffff}"},
		{"hash:net family inet", "10.1.0.0/16 nomatch", "{}"},
		{"hash:net,net family inet", "10.0.0.0/8,192.0.2.0/24;10.1.0.0/16,192.0.2.0/25 nomatch",
			"{0xa000000-0xa00ffff . 0xc0000200-0xc00002ff, 0xa020000-0xaffffff . 0xc0000200-0xc00002ff, 0xa010000-0xa01ffff . 0xc0000280-0xc00002ff}"},
		{"hash:ip,port family inet", "10.0.0.1,tcp:80;10.0.0.1,53;10.0.0.1,udp:80-90;10.0.0.1,icmp:echo-request;10.0.0.1,icmp:200/3;10.0.0.1,gre:0",
			"{0xa000001 . 0x6 . 0x50, 0xa000001 . 0x6 . 0x35, 0xa000001 . 0x11 . 0x50-0x5a, 0xa000001 . 0x1 . 0x800, 0xa000001 . 0x1 . 0xc803, 0xa000001 . 0x2f . 0x0}"},
		{"hash:ip,port family inet6", "2001:db8::1,ipv6-icmp:echo-request", "{0x20010db8000000000000000000000001 . 0x3a . 0x8000}"},
		{"hash:net,port,net family inet", "10.0.0.0/8,tcp:80,192.0.2.0/24", "{0xa000000-0xaffffff . 0x6 . 0x50 . 0xc0000200-0xc00002ff}"},
		{"hash:ip,port,ip family inet", "10.0.0.1,sctp:5,10.0.0.2", "{0xa000001 . 0x84 . 0x5 . 0xa000002}"},
		{"hash:ip,mark family inet markmask 0xff", "10.0.0.1,0x00000105", "{0xa000001 . 0x5}"},
		{"hash:mac", "00:11:22:33:44:55", "{0x1122334455}"},
		{"hash:ip,mac family inet", "10.0.0.1,00:11:22:33:44:55", "{0xa000001 . 0x1122334455}"},
		{"hash:net,iface family inet", "10.0.0.0/8,eth0;11.0.0.0/8,et wildcard;12.0.0.0/8,physdev:eth1",
			"{0xa000000-0xaffffff . eth0, 0xb000000-0xbffffff . 0x65740000000000000000000000000000-0x6574ffffffffffffffffffffffffffff, 0xc000000-0xcffffff . eth1} [2 if a bridge port]"},
		{"hash:net,iface family inet", "10.0.0.0/8,eth0;10.128.0.0/9,eth1", "{0xa000000-0xa7fffff . eth0, 0xa800000-0xaffffff . eth1}"},
		{"hash:net,iface family inet", "10.0.0.0/8,eth0;10.128.0.0/9,physdev:eth1", "{} unknown: elements with nomatch, or nets within nets, and one that depends on a bridge port"},
		{"hash:net,iface family inet", "10.0.0.0/8,eth wildcard;10.0.0.0/8,eth0 nomatch", "{} unknown: a net with nomatch for a wildcard of interfaces"},
		{"bitmap:ip range 10.0.0.0-10.255.255.255 netmask 16", "10.1.0.0", "{0xa010000-0xa01ffff}"},
		{"bitmap:ip,mac range 10.0.0.0-10.0.0.255", "10.0.0.1,00:11:22:33:44:55;10.0.0.2", "{0xa000001 . 0x1122334455, 0xa000002 . 0x0-0xffffffffffff} [1 if the MAC address that a packet teaches it]"},
		{"bitmap:port range 0-1023", "22;80-90", "{0x16, 0x50-0x5a}"},
		{"hash:future family inet", "1", "{} unknown: ipset type hash:future has no model"},
		{"hash:ip family inet sparkle 5", "10.0.0.1", "{} unknown: ipset s was created with sparkle 5, which has no model"},
		{"hash:ip family inet", "10.0.0.1 sparkle 5", "{} unknown: its element \"10.0.0.1 sparkle 5\": option \"sparkle\" has no model"},
		{"hash:ip family inet", "10.0.0.1;example.com", "{} unknown: its element \"example.com\": \"example.com\" is no ip address"},
		{"hash:ip family inet", "fe80::1", "{} unknown: its element \"fe80::1\": \"fe80::1\" is no ip address"},
		{"hash:ip,port family inet", "10.0.0.1", "{} unknown: its element \"10.0.0.1\": 1 parts, where hash:ip,port has 2"},
	} {
		sets := map[string]*ipset{}
		text := "create s " + c.create + "\n"
		for e := range strings.SplitSeq(c.add, ";") {
			text += "add s " + e + "\n"
		}
		if err := readSets(source{name: "f", file: "f"}, []byte(text), now, sets); err != nil {
			t.Errorf("%s: %v", c.create, err)
			continue
		}
		if got := exposuretest.Set(sets["s"].set); got != "@s"+c.want {
			t.Errorf("%s, %s:\n got %s\nwant @s%s", c.create, c.add, got, c.want)
		}
		if strings.Contains(c.add, "comment") {
			n := sets["s"].set.Notes[0]
			if n.Comment != "a b" || !n.Expires.Equal(now.Add(5*time.Second)) ||
				sets["s"].set.Size != 0 {
				t.Errorf("%+v", n)
			}
		}
	}
}

func TestSetErrorsSayWhere(t *testing.T) {
	for text, want := range map[string]string{
		"create s hash:ip\ncreate s hash:ip\n": "f:2:1: set s is there twice",
		"add s 10.0.0.1\n":                     "f:1:1: an element of set s, which no line before it creates",
		"create s hash:ip\ndestroy s\n":        "f:2:1: \"destroy s\" is neither",
		"add s\n":                              "f:1:1: \"add s\" is neither",
	} {
		err := NewSets().Read("f", strings.NewReader(text), time.Time{})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := NewSets().Read("f", endless{}, time.Time{}); err == nil ||
		!strings.Contains(err.Error(), "more than 40 MiB") {
		t.Error(err)
	}
}

// Random sets of nets within nets, in the kernel and in the model: both say the same of every
// address asked about.
func TestNomatchAgainstTheKernel(t *testing.T) {
	backendtest.Isolate(t)
	random := rand.New(rand.NewPCG(1, 2))
	questions := 0
	for n := range 60 {
		kind := []string{"hash:net", "hash:net,iface", "hash:net,port"}[n%3]
		second := func() string {
			switch kind {
			case "hash:net,iface":
				return []string{",eth0", ",eth1"}[random.IntN(2)]
			case "hash:net,port":
				return []string{",tcp:80", ",tcp:81"}[random.IntN(2)]
			}
			return ""
		}
		text := "create s " + kind + " family inet\n"
		for range 1 + random.IntN(12) {
			length := 24 + random.IntN(9)
			address := random.IntN(256) &^ (1<<(32-length) - 1)
			text += fmt.Sprintf("add -exist s 10.0.0.%d/%d%s", address, length, second())
			if random.IntN(3) == 0 {
				text += " nomatch"
			}
			text += "\n"
		}
		backendtest.Program(t, "destroy\n", "ipset", "restore")
		backendtest.Program(t, text, "ipset", "restore")
		var asked strings.Builder
		var tuples [][]exposure.Value
		for a := range 256 {
			for s := range 2 {
				suffix, v := "", exposure.Value{}
				tuple := []exposure.Value{exposure.Number(uint64(0x0a000000 + a))}
				switch kind {
				case "hash:net,iface":
					suffix, v = ",eth"+itoa(s), exposure.Name("eth"+itoa(s))
					tuple = append(tuple, v)
				case "hash:net,port":
					suffix, v = ",tcp:"+itoa(80+s), exposure.Number(uint64(80+s))
					tuple = append(tuple, exposure.Number(6), v)
				}
				fmt.Fprintf(&asked, "test s 10.0.0.%d%s\n", a, suffix)
				tuples = append(tuples, tuple)
			}
		}
		answers := answersOf(backendtest.Program(t, asked.String(), "ipset", "-"))
		sets := map[string]*ipset{}
		if err := readSets(source{}, []byte(backendtest.Program(t, "", "ipset", "save")), time.Time{}, sets); err != nil {
			t.Fatal(err)
		}
		if len(answers) != len(tuples) {
			t.Fatalf("%d answers to %d questions", len(answers), len(tuples))
		}
		for i, tuple := range tuples {
			questions++
			if got := contains(sets["s"].set, tuple); got != answers[i] {
				t.Fatalf("%v in\n%s: %v, the kernel says %v", tuple, text, got, answers[i])
			}
		}
	}
	t.Logf("%d questions, the same answers", questions)
}

func answersOf(out string) []bool {
	var answers []bool
	for line := range strings.SplitSeq(out, "\n") {
		switch {
		case strings.Contains(line, "is NOT in set"):
			answers = append(answers, false)
		case strings.Contains(line, "is in set"):
			answers = append(answers, true)
		}
	}
	return answers
}

func contains(s *exposure.Set, tuple []exposure.Value) bool {
	for _, box := range s.All() {
		in := true
		for c, r := range box {
			in = in && r.Contains(tuple[c])
		}
		if in {
			return true
		}
	}
	return false
}

func FuzzReadSets(f *testing.F) {
	f.Add(testSets)
	f.Add(read(f, "testdata/fail2ban.sets"))
	f.Add("create s hash:net,net family inet6\nadd s ::1-ffff::,::1-ffff:: nomatch\n")
	f.Fuzz(func(t *testing.T, text string) {
		sets := NewSets()
		if sets.Read("f", strings.NewReader(text), time.Time{}) != nil {
			return
		}
		for name, s := range sets.sets {
			for _, directions := range []string{"src", "src,dst", "dst,src,src"} {
				m, ok := sets.Match(exposure.FamilyIPv4, name, directions)
				if !ok || len(m.Key) != m.In.Width ||
					m.In.Width > 0 && len(m.In.Keys)%m.In.Width != 0 {
					t.Fatalf("%s %s: %+v", name, s.kind, m)
				}
			}
		}
	})
}

func BenchmarkReadSets(b *testing.B) {
	var text strings.Builder
	text.WriteString("create s hash:net family inet\n")
	for i := range 100000 {
		fmt.Fprintf(&text, "add s 10.%d.%d.0/24 timeout 5\n", i/256%256, i%256)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if err := NewSets().Read("f", strings.NewReader(text.String()), time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}
