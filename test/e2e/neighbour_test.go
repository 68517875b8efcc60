package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/test/lab"
)

// foreignTables stand beside ours: objects of every kind that nft lists.
const foreignTables = `table ip before {
	comment "stands before ours"
	set banned {
		type ipv4_addr
		flags interval
		elements = { 192.0.2.0/24, 198.18.0.1 }
	}
	map marks {
		type inet_service : mark
		elements = { 22 : 0x1, 80 : 0x2 }
	}
	counter seen {
	}
	quota most {
		over 10 mbytes
	}
	limit some {
		rate 10/second
	}
	chain input {
		type filter hook input priority filter; policy accept;
		ip saddr @banned counter name "seen" drop
		meta mark set tcp dport map @marks
	}
}
table bridge z {
	chain c {
		ether saddr 02:00:00:00:00:01 accept
	}
}
`

// lateTable comes when ours stands.
const lateTable = `table inet late {
	limit few {
		rate 5/minute
	}
	chain forward {
		type filter hook forward priority 10; policy accept;
		tcp dport { 8080, 8443 } limit name "few" accept
	}
}
`

// neighbourly are policies that make every kind of object that we put into the kernel.
var neighbourly = map[string]string{
	"deny, reject":       "unlisted: deny\nrefuse: reject\n" + neighbourlyServices,
	"ignore, drop, keep": "established: keep\n" + neighbourlyServices,
	"observe nothing":    "services: []\n",
}

const neighbourlyServices = `networks:
  some: {file: some.txt}
  many: {file: many.txt}
  very-many: {file: very-many.txt}
services:
  - {name: web, port: [9090, "9100-9105"], protocol: [tcp, udp], interfaces: ["eth*", wg0], allow: [192.88.99.0/24, "2001:db8:4000::/36"], except: [192.88.99.7],
     rate: {per_source: 1000/second, burst: 1000}, log: all}
  - {name: bridge, port: 9090, protocol: [tcp, udp], interfaces: ["docker*"], allow: [any]}
  - {name: here, port: 9091, addresses: [198.51.100.10, "2001:db8:100::10"], allow: [192.88.99.1, "2001:db8:4000::1"], log: none}
  - {name: some, port: 9092, allow: [some], rate: {per_source: 1/hour, burst: 3}}
  - {name: many, port: 9093, allow: [many], protocol: [tcp, udp]}
  - {name: very-many, port: 9094, allow: [very-many]}
  - {name: ends, port: 9095, allow: [{cidr: 192.88.99.0/28, expires: LATER, reason: audit}, {cidr: "2001:db8:4000::/48", expires: LATER}, 192.0.2.1]}
  - {name: nobody, port: 9096, protocol: [tcp, udp, sctp], allow: []}
`

// lists are the files of neighbourlyServices: one for each way in which sources stand in the
// kernel.
func (i *installation) lists(most int) {
	i.t.Helper()
	write := func(name string, n int, first string, step uint32) {
		var b strings.Builder
		a := address.V4Of(netip.MustParseAddr(first))
		for k := range n {
			fmt.Fprintln(&b, netip.PrefixFrom((a+address.V4(uint32(k)*step)).IP(), 24+k%9))
		}
		b.WriteString("192.88.99.1\n2001:db8:4000::1\n")
		for k := range n / 10 {
			fmt.Fprintln(
				&b,
				netip.PrefixFrom(address.V6{Hi: 0x2a00<<48 | uint64(k)<<16}.IP(), 48+k%17),
			)
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(i.policy), name), []byte(b.String()), 0o644); err != nil {
			i.t.Fatal(err)
		}
	}
	write("some.txt", 2000, "20.0.0.0", 256)
	write("many.txt", 6000, "30.0.0.0", 256)
	write("very-many.txt", most, "40.0.0.0", 256)
}

// listings is what nft prints: the text, and what stands in the JSON of others than ours.
func listings(w *lab.World) (text string, foreign []any, err error) {
	text = w.Host.Run("nft", "list", "ruleset")
	var all struct {
		Nftables []map[string]map[string]any `json:"nftables"`
	}
	listed := w.Host.Run("nft", "-j", "list", "ruleset")
	if err := json.Unmarshal([]byte(listed), &all); err != nil {
		return "", nil, fmt.Errorf("the JSON is cut off after %d bytes: %w", len(listed), err)
	}
	ours := 0
	for _, object := range all.Nftables {
		for kind, x := range object {
			delete(x, "handle")
			switch {
			case kind == "metainfo":
			case x["table"] == "portgrave" || kind == "table" && x["name"] == "portgrave":
				ours++
			default:
				foreign = append(foreign, map[string]any{kind: x})
			}
		}
	}
	if strings.Contains(text, "table inet portgrave {") != (ours > 0) {
		return "", nil, fmt.Errorf("the JSON has %d objects of ours", ours)
	}
	return text, foreign, nil
}

// What nft prints of a host with our rules can be read by nft again, to the same effect, and is
// complete in JSON: a saved /etc/nftables.conf works, and so do the programs that read the JSON. So
// it is after apply, while the daemon runs and when it has ended.
func TestWhatNftPrintsLoadsAgain(t *testing.T) {
	lab.RequireRoot(t)
	t.Parallel()
	for name, document := range neighbourly {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			later := time.Now().AddDate(0, 1, 0).Format(time.DateOnly)
			testWhatNftPrintsLoadsAgain(
				t,
				"version: 1\n"+strings.ReplaceAll(document, "LATER", later),
			)
		})
	}
}

func testWhatNftPrintsLoadsAgain(t *testing.T, document string) {
	w, again := lab.New(t), lab.New(t)
	for _, x := range []*lab.World{w, again} {
		for port := range uint16(8) {
			x.Host.ListenTCP(9090 + port)
			x.Host.ListenUDP(9090 + port)
		}
	}
	w.Host.NFT(foreignTables)
	most := 140_000 // held in parts
	if !strings.Contains(document, "deny") {
		most = 7000 // once is enough
	}
	i := install(t, w, document)
	i.lists(most)
	reader := install(t, again, document)
	reader.lists(most)
	again.Host.NFT(foreignTables + lateTable)
	_, alone, err := listings(again)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		var questions []lab.Question
		for _, s := range []string{"192.88.99.1", "192.88.99.7", "192.88.99.200", "192.88.98.1", "20.0.0.1", "20.0.9.1", "30.0.0.1", "30.0.7.2", "40.0.0.1", "42.0.0.1",
			"2001:db8:4000::1", "2001:db8:4001::1", "2001:db8:5000::1", "2a00:0:1::1"} {
			a := netip.MustParseAddr(s)
			for port := uint16(9090); port < 9098; port++ {
				for _, over := range both {
					questions = append(
						questions,
						lab.Question{Source: a, To: w.Host.At(port, a.Is6()), Over: over},
					)
				}
			}
		}
		first := w.ProbeEach(
			w.Internet,
			questions,
			lab.Attempts(2),
		) // which also fills the sets that packets fill
		text, foreign, err := listings(w)
		if err != nil {
			t.Errorf("%s: %v", when, err)
		} else if !reflect.DeepEqual(alone, foreign) {
			t.Errorf("%s: the JSON has other foreign objects than without ours: %v, without %v", when, foreign, alone)
		}
		// as /etc/nftables.conf begins
		cmd := again.Host.Command(context.Background(), "nft", "-f", "-")
		cmd.Stdin = strings.NewReader("flush ruleset\n" + text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: nft can't read what it has printed: %v: %.300s", when, err, out)
			return
		}
		var plan struct {
			Changes []firewall.Change `json:"changes"`
		}
		if err := json.Unmarshal([]byte(reader.verb("plan", "-o", "json")), &plan); err != nil {
			t.Fatal(err)
		}
		for _, c := range plan.Changes {
			// nft prints how long an element still has; loaded later, it ends later.
			if c.Service != "ends" || c.Object != firewall.ObjectElement {
				t.Errorf("%s: what was loaded differs: %v", when, c)
			}
		}
		wrong := 0
		for n, got := range again.ProbeEach(again.Internet, questions, lab.Attempts(2)) {
			if q := questions[n]; got != first[n] && q.To.Port() != 9092 { // whose rate remembers
				if wrong++; wrong < 10 {
					t.Errorf(
						"%s: %v from %v to %v is %v; where the rules were saved it is %v",
						when,
						firewall.Protocol(q.Over),
						q.Source,
						q.To,
						got,
						first[n],
					)
				}
			}
		}
	}
	i.run("apply", "--reason", "test")
	w.Host.NFT(lateTable)
	check("after apply")
	end := i.start()
	check("while the daemon runs")
	if s := oneLine(i.run("status")); !strings.Contains(s, "can't print a protected table") {
		t.Errorf("status does not say why the rules are not protected:\n%s", s)
	}
	end()
	check("when the daemon has ended")
}
