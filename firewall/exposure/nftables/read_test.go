package nftables

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall/backendtest"
	"github.com/portgrave/portgrave/firewall/exposure"
	"github.com/portgrave/portgrave/firewall/netlink"
)

func TestTablesAndChains(t *testing.T) {
	backendtest.Isolate(t)
	backendtest.Program(t, "", "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	nft(t, `
table inet a {
	counter c { }
	set s { type ipv4_addr; flags timeout; elements = { 192.0.2.1 timeout 1h comment "for a while", 192.0.2.2 } }
	set unused { type ipv4_addr . ifname . mark; }
	chain user { }
	chain in { type filter hook input priority 7; policy drop; tcp dport 22 accept comment "ssh"; ip saddr @s drop; jump user; }
	chain ingress { type filter hook ingress device lo priority -5; }
	chain nat { type nat hook prerouting priority -100; }
	chain route { type route hook output priority 3; }
}
table ip dormant { flags dormant; chain in { type filter hook input priority 0; }
}
table netdev n {
	chain i { type filter hook ingress devices = { v0, v1 } priority 0; }
	chain e { type filter hook egress device v0 priority 0; }
}
table arp p { chain i { type filter hook input priority 0; arp operation request drop; }
}
table bridge b { chain f { type filter hook forward priority 0; ether type ip drop; }
}
`)
	rs := read(t, Options{})
	var tables []string
	bases := map[string]string{}
	for _, tbl := range rs.Tables {
		tables = append(tables, fmt.Sprintf("%s %s %v", tbl.Family, tbl.Name, tbl.Dormant))
		for _, c := range tbl.Chains {
			if b := c.Base; b != nil {
				slices.Sort(b.Devices)
				bases[c.Where()] = fmt.Sprintf(
					"%v %v %d %v %v",
					b.Type,
					b.Hook,
					b.Priority,
					b.Policy,
					b.Devices,
				)
			}
			for i, r := range c.Rules {
				if r.Number != i+1 || r.Handle == 0 || r.Chain != c ||
					r.Origin != (exposure.Origin{}) {
					t.Errorf("%s: %+v", r.Where(), r)
				}
			}
		}
	}
	slices.Sort(tables)
	if want := []string{"arp p false", "bridge b false", "inet a false", "ip dormant true", "netdev n false"}; !slices.Equal(
		tables,
		want,
	) {
		t.Errorf("%v, want %v", tables, want)
	}
	for where, want := range map[string]string{
		"inet a in": "filter input 7 drop []", "inet a ingress": "filter ingress -5 accept [lo]", "inet a nat": "nat prerouting -100 accept []",
		"inet a route": "route output 3 accept []", "ip dormant in": "filter input 0 accept []", "netdev n i": "filter ingress 0 accept [v0 v1]",
		"netdev n e": "filter egress 0 accept [v0]", "arp p i": "filter input 0 accept []", "bridge b f": "filter forward 0 accept []",
	} {
		if got := bases[where]; got != want {
			t.Errorf("%s: %s, want %s", where, got, want)
		}
	}
	a := rs.Tables[slices.IndexFunc(rs.Tables, func(t *exposure.Table) bool { return t.Name == "a" })]
	if c := a.Chain("user"); c == nil || c.Base != nil {
		t.Errorf("user chain: %+v", c)
	}
	if r := a.Chain("in").Rules[0]; r.Comment != "ssh" || r.Text != "tcp dport 22 accept" {
		t.Errorf("%q, comment %q", r.Text, r.Comment)
	}
	if !slices.Equal(a.Others, []string{"counter c"}) {
		t.Errorf("others: %q", a.Others)
	}
	sets := map[string]*exposure.Set{}
	for _, s := range a.Sets {
		sets[s.Name] = s
	}
	if got := sets["unused"].Columns; !slices.Equal(got, []string{"ipv4_addr", "ifname", "mark"}) ||
		sets["unused"].Width != 3 {
		t.Errorf("columns of a set that no rule uses: %v", got)
	}
	s := sets["s"]
	for i, box := range s.All() {
		note := s.Notes[i]
		left := time.Until(note.Expires)
		if box[0] == exposure.One(addr("192.0.2.1")) &&
			(note.Comment != "for a while" || left < 59*time.Minute || left > time.Hour) {
			t.Errorf("note of an element that expires: %+v", note)
		}
		if box[0] == exposure.One(addr("192.0.2.2")) && note != (exposure.Note{}) {
			t.Errorf("note of an element that doesn't: %+v", note)
		}
	}
	if s.Grows || s.Shrinks || s.Len() != 2 ||
		a.Chain("in").Rules[1].Statements[1].(exposure.Match).In != s {
		t.Errorf("set %+v isn't the one that the rule looks up", s)
	}
}

// The same set, asked for in two ways: nft only lets that happen between types of one shape, but
// the kernel doesn't mind.
func TestSetHasTheColumnsOfItsRules(t *testing.T) {
	backendtest.Isolate(t)
	nft(t, `
table ip a {
	set s { type mark; elements = { 0x01020304 } }
	chain in { type filter hook input priority 0; meta mark @s drop; ct mark @s accept; }
}`)
	r := rulesOf(read(t, Options{}))
	first, second := r[0].Statements[0].(exposure.Match).In, r[1].Statements[0].(exposure.Match).In
	if first != second || !slices.Equal(first.Keys, []exposure.Range{one(0x01020304)}) {
		t.Errorf("%+v, %+v", first, second)
	}
}

// Readers get one generation or an error, never a mixture: here all rules are always of one colour.
func TestOneGeneration(t *testing.T) {
	backendtest.Isolate(t)
	script := func(colour string) string {
		s := "flush ruleset\ntable inet a {\nchain c { type filter hook input priority 0;\n"
		for i := range 400 {
			s += fmt.Sprintf(
				"ip saddr { 10.0.0.%d, 10.0.1.0/24 } tcp dport %d accept comment %q\n",
				i%250,
				i+1,
				colour,
			)
		}
		return s + "}\n}\n"
	}
	nft(t, script("red"))
	done := make(chan error)
	// A program of its own: a goroutine would be in another namespace.
	writer := exec.Command(
		"sh",
		"-c",
		`while :; do nft -f "$0"; sleep 0.005; nft -f "$1"; sleep 0.005; done`,
		file(t, script("red")),
		file(t, script("green")),
	)
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { done <- writer.Wait() }()
	defer func() {
		writer.Process.Kill()
		<-done
	}()
	conn := dial(t)
	whole, changing, seen := 0, 0, map[string]bool{}
	enough := func() bool { return whole >= 20 && len(seen) == 2 }
	begin := time.Now() // a busy machine takes longer
	for time.Since(begin) < 3*time.Second || !enough() && time.Since(begin) < 60*time.Second {
		rs := &exposure.Ruleset{}
		err := Read(context.Background(), conn, rs, Options{})
		switch {
		case errors.Is(err, netlink.ErrInterrupted):
			changing++
			continue
		case err != nil:
			t.Fatal(err)
		}
		whole++
		colours := map[string]int{}
		for _, r := range rulesOf(rs) {
			colours[r.Comment]++
			seen[r.Comment] = true
		}
		if len(colours) != 1 || colours["red"]+colours["green"] != 400 {
			t.Fatalf("a mixture: %v", colours)
		}
	}
	t.Logf("%d whole, %d given up", whole, changing)
	if !enough() {
		t.Errorf("read %d times, saw %v", whole, seen)
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestCancelled(t *testing.T) {
	backendtest.Isolate(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	rs := &exposure.Ruleset{}
	if err := Read(ctx, dial(t), rs, Options{}); !errors.Is(err, context.Canceled) ||
		len(rs.Tables) != 0 {
		t.Errorf("%v, %v", err, rs.Tables)
	}
}

func TestEmpty(t *testing.T) {
	backendtest.Isolate(t)
	if rs := read(t, Options{}); len(rs.Tables) != 0 || len(rs.Missing) != 0 {
		t.Errorf("%+v", rs)
	}
}

// The order of registration, as the kernel's lists tell it, wins over that of the dump.
func TestRank(t *testing.T) {
	chains := map[string]*exposure.Chain{}
	var order []*exposure.Chain
	names := map[ChainName]*exposure.Chain{}
	for _, n := range []string{"a", "b", "both", "c", "six", "nat"} {
		c := &exposure.Chain{Name: n, Base: &exposure.Base{}}
		chains[n], order = c, append(order, c)
		names[ChainName{Name: n}] = c
	}
	list := func(names ...string) (out []ChainName) {
		for _, n := range names {
			out = append(out, ChainName{Name: n})
		}
		return out
	}
	rank(
		order,
		names,
		[][]ChainName{list("c", "both", "a", "b"), list("six", "both"), list("gone")},
	)
	for _, pair := range [][2]string{{"c", "both"}, {"both", "a"}, {"a", "b"}, {"six", "both"}} {
		if chains[pair[0]].Base.Rank >= chains[pair[1]].Base.Rank {
			t.Errorf(
				"%s comes at %d, %s at %d",
				pair[0],
				chains[pair[0]].Base.Rank,
				pair[1],
				chains[pair[1]].Base.Rank,
			)
		}
	}
	if n := chains["nat"].Base; n.RankKnown || !chains["a"].Base.RankKnown {
		t.Errorf("%+v", n)
	}
	rank(
		order,
		names,
		[][]ChainName{list("a", "b"), list("b", "a")},
	) // no kernel says so; it must only end
	rank(order, names, nil)
	if chains["a"].Base.Rank <= chains["b"].Base.Rank {
		t.Error("without lists the chain that was dumped last comes first")
	}
}
