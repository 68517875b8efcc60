package iptsave_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/iptsave"
)

// eachProgram runs a test for every iptables program, in a namespace of its own.
func eachProgram(t *testing.T, test func(t *testing.T, program string)) {
	for _, variant := range []string{"-nft", "-legacy"} {
		for _, program := range []string{"iptables", "ip6tables"} {
			t.Run(program+variant, func(t *testing.T) {
				backendtest.Isolate(t)
				test(t, program+variant)
			})
		}
	}
}

// What Script writes the programs read, and what they print Read reads: the same words.
func TestProgramsAgreeOnRules(t *testing.T) {
	comments := []string{
		"plain", "two  words", `it's "quoted" \ so`, `\`, `\\"`, "-x", "--dport", "-j", "a\tb", "ü", "!",
		"[1:2]", "# no remark", "COMMIT", "'", strings.Repeat("a", 255),
	}
	eachProgram(t, func(t *testing.T, program string) {
		var s iptsave.Script
		s.Begin("mangle")
		s.Declare("mine")
		s.Declare("it's-odd")
		var want []string
		for i, c := range comments {
			words := iptsave.Words([]string{
				"-p", "tcp", "-m", "tcp", "!", "--dport", fmt.Sprint(i + 1), "-m", "comment", "--comment", c,
				"-j", "it's-odd",
			})
			count := firewall.Counter{Packets: uint64(i), Bytes: uint64(i * 40)}
			if program == "ip6tables-nft" { // 1.8.9 reads counters and sets none
				count = firewall.Counter{}
			}
			s.Append("mine", count, iptsave.Join(words))
			want = append(want, fmt.Sprintf("%d:%d %q", count.Packets, count.Bytes, texts(words)))
		}
		s.Insert("INPUT", 1, "-j mine")
		s.Commit()
		backendtest.Program(t, string(s), program+"-restore", "--noflush", "--counters")

		saved := func() (rules, hooks []string) {
			text := backendtest.Program(t, "", program+"-save", "--counters")
			err := iptsave.Read(strings.NewReader(text), func(l *iptsave.Line) error {
				if l.Kind != iptsave.Append {
					return nil
				}
				words, err := l.Words()
				if err != nil {
					return err
				}
				if r, err := iptsave.ParseRule(words); err != nil || r.Target == nil {
					t.Errorf("%s: %v", l.Text, err)
				}
				if l.Chain == "INPUT" {
					hooks = append(hooks, l.Text)
					return nil
				}
				rules = append(
					rules,
					fmt.Sprintf("%d:%d %q", l.Counter.Packets, l.Counter.Bytes, texts(words)),
				)
				return nil
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			return rules, hooks
		}
		rules, hooks := saved()
		if d := cmp.Diff(want, rules); d != "" ||
			!slices.Equal(hooks, []string{"-A INPUT -j mine"}) {
			t.Errorf("%s\n%v", d, hooks)
		}

		s = nil
		s.Begin("mangle")
		s.Delete("INPUT", "-j mine")
		for _, chain := range []string{"mine", "it's-odd"} {
			s.Flush(chain)
		}
		for _, chain := range []string{"mine", "it's-odd"} {
			s.Remove(chain)
		}
		s.Commit()
		backendtest.Program(t, string(s), program+"-restore", "--noflush", "--counters")
		if rules, hooks = saved(); len(rules)+len(hooks) > 0 {
			t.Errorf("left: %v %v", rules, hooks)
		}
	})
}

func texts(words []iptsave.Word) []string {
	var out []string
	for _, w := range words {
		out = append(out, w.Text)
	}
	return out
}

// Words end where they do for the programs, in files that people have written.
func TestProgramsAgreeOnWords(t *testing.T) {
	eachProgram(t, func(t *testing.T, program string) {
		for _, rule := range []string{
			`-m comment --comment "a"-j RETURN`,
			`-m comment --comment a"b c"  -j	RETURN`,
			`-m comment --comment a\b'c -j RETURN`,
			`"-m" comment --comment "\a\"" "-j" "RETURN"`,
		} {
			words, err := iptsave.Split(rule)
			if err != nil {
				t.Fatal(err)
			}
			var seen []string
			for _, text := range []string{rule, iptsave.Join(words)} {
				script := "*filter\n-F INPUT\n-A INPUT " + text + "\nCOMMIT\n"
				backendtest.Program(t, script, program+"-restore", "--noflush")
				seen = append(seen, backendtest.Program(t, "", program, "-S", "INPUT"))
			}
			read := seen[0][strings.Index(seen[0], "-A INPUT ")+len("-A INPUT "):]
			printed, err := iptsave.Split(strings.TrimSpace(read))
			if d := cmp.Diff(texts(words), texts(printed)); err != nil || d != "" ||
				seen[0] != seen[1] {
				t.Errorf("%s: %v %s\nwritten again: %s", rule, err, d, seen[1])
			}
		}
	})
}

// What SetScript writes ipset reads, and what it prints ReadSets reads.
func TestIpsetAgrees(t *testing.T) {
	backendtest.Isolate(t)
	var s iptsave.Script
	nets := iptsave.SetType{Name: "hash:net", Family: address.IPv4, HashSize: 64, MaxElem: 100}
	ends := iptsave.SetType{Name: "hash:ip,port", Family: address.IPv6, HashSize: 64, MaxElem: 10,
		Ends: true, Timeout: 5}
	s.CreateSet("nets", nets)
	s.CreateSet("other", nets)
	s.CreateSet("ends", ends)
	s.FlushSet("ends")
	backendtest.Program(t, string(s), "ipset", "restore", "-exist")
	backendtest.Program(t, "", "ipset", "add", "nets", "10.0.0.0/8", "nomatch")
	s = nil
	s.SwapSets("nets", "other")
	s.DestroySet("nets")
	backendtest.Program(t, string(s), "ipset", "restore", "-exist")
	backendtest.Program(t, "", "ipset", "create", "said", "hash:ip", "comment")
	backendtest.Program(
		t,
		"",
		"ipset",
		"add",
		"said",
		"10.0.0.1",
		"comment",
		`add 'x' \y -- it's z`,
	)

	var got []string
	text := backendtest.Program(t, "", "ipset", "save")
	err := iptsave.ReadSets(strings.NewReader(text), func(l *iptsave.SetLine) error {
		words, err := iptsave.SplitSet(l.Text)
		i := slices.IndexFunc(words, func(w iptsave.Word) bool { return w.Text == "bucketsize" })
		if i >= 0 {
			words = words[:i]
		}
		got = append(got, fmt.Sprintf("%v %s %q", l.Add, l.Set, texts(words)))
		return err
	})
	want := []string{
		`false other ["hash:net" "family" "inet" "hashsize" "64" "maxelem" "100"]`,
		`true other ["10.0.0.0/8" "nomatch"]`,
		`false ends ["hash:ip,port" "family" "inet6" "hashsize" "64" "maxelem" "10" "timeout" "5"]`,
		`false said ["hash:ip" "family" "inet" "hashsize" "1024" "maxelem" "65536" "comment"]`,
		`true said ["10.0.0.1" "comment" "add 'x' \\y -- it's z"]`,
	}
	slices.Sort(got)
	slices.Sort(want)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v %s\n%s", err, d, text)
	}
}
