package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/host"
	"github.com/portgrave/portgrave/test/lab"
)

// effectPolicies follow each other on a host: what opens, what closes, what refuses the rest.
var effectPolicies = []string{`
version: 1
services:
  - {name: ssh, port: 22, allow: [192.88.99.0/24, 64.0.0.0/3, "2001:db8:4000::/36"]}
  - {name: metrics, port: 9090, allow: [any]}
  - {name: web, port: 8080, allow: [192.0.2.0/24, "2001:db8:4000::/37"]}
`, `
version: 1
refuse: reject
networks: {some: [128.0.0.0/2, "2001:db8:8000::/33"]}
services:
  - {name: ssh, port: 22, allow: [192.88.99.0/25, some]}
  - {name: metrics, port: [9090, 9091], allow: [some, 192.0.2.0/25], except: [192.88.99.0/26]}
  - {name: web, port: 8080, allow: [any], rate: {per_source: 20/second, burst: 40}}
`, `
version: 1
unlisted: deny
services:
  - {name: ssh, port: 22, allow: [any], interfaces: [eth1]}
  - {name: metrics, port: 9090, allow: [192.0.2.0/24], addresses: [198.51.100.10]}
  - {name: nobody, port: 8080, allow: []}
`}

// plan is the effect that a plan states; what else stands in it is of no concern here.
func (i *installation) plan() (effects []host.Effect, text string) {
	i.t.Helper()
	run := func(args ...string) string {
		out, err := i.try(args...)
		var ended *exec.ExitError
		if err != nil && (!errors.As(err, &ended) || ended.ExitCode() != 2) {
			i.t.Fatalf("plan: %v\n%s", err, out)
		}
		return out
	}
	out := run("plan", "-o", "json")
	var d host.Difference
	object := strings.NewReader(out[strings.Index(out, "{\n"):])
	if err := json.NewDecoder(object).Decode(&d); err != nil {
		i.t.Fatalf("%v\n%s", err, out)
	}
	if d.Effect == nil {
		i.t.Fatalf("no effect: %s", out)
	}
	return *d.Effect, run("plan")
}

// changed counts what packets showed.
type changed struct{ probes, gained, lost int }

// effectAgrees applies a policy. Packets from the internet, before and after, get in and don't as
// the effect says: listed sources are, and no others are.
func effectAgrees(t *testing.T, w *lab.World, i *installation, document string) (n changed) {
	t.Helper()
	i.write(document)
	effects, text := i.plan()
	ports := []uint16{22, 8080, 9090, 9091}
	sets := []address.Set{address.Must("128.0.0.0/2", "192.88.99.0/26", "2001:db8:8000::/33")}
	for _, e := range effects {
		if e.Protocol == "tcp" && (e.Interfaces == nil || slices.Contains(e.Interfaces, "eth0")) {
			sets = append(sets, e.Gains, e.Loses, e.MayGain, e.MayLose)
		}
	}
	var questions []lab.Question
	for _, source := range beside(sets...) {
		for _, port := range ports {
			questions = append(questions, lab.Question{
				Source: source, To: w.Host.At(port, source.Is6()),
			})
		}
	}
	before := w.ProbeEach(w.Internet, questions)
	if out, err := i.try("apply"); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	after := w.ProbeEach(w.Internet, questions)
	for q, question := range questions {
		n.probes++
		was, is := before[q] == lab.Open, after[q] == lab.Open
		s := told(effects, question.To)
		from := question.Source
		wrong := ""
		switch {
		case !was && is:
			n.gained++
			if !s.gains.Contains(from) && !s.mayGain.Contains(from) {
				wrong = "gains access untold"
			}
		case was && !is:
			n.lost++
			if !s.loses.Contains(from) && !s.mayLose.Contains(from) {
				wrong = "loses access untold"
			}
		}
		if s.gains.Contains(from) && (was || !is) {
			wrong = "is told to gain access"
		}
		if s.loses.Contains(from) && (!was || is) {
			wrong = "is told to lose access"
		}
		if wrong != "" {
			t.Errorf("%v to %v: %s: before %v, after %v", from, question.To, wrong, before[q], after[q])
		}
	}
	if t.Failed() {
		t.Logf("%s\n%s", document, text)
	}
	return n
}

// whoChanges are those who gain and lose access to a port.
type whoChanges struct{ gains, loses, mayGain, mayLose address.Set }

// told is what effects say of a port that is dialled by eth0.
func told(effects []host.Effect, at netip.AddrPort) (all whoChanges) {
	for _, e := range effects {
		if e.Protocol != "tcp" || e.Port != at.Port() ||
			e.Interfaces != nil && !slices.Contains(e.Interfaces, "eth0") ||
			e.Addresses != nil && !slices.Contains(e.Addresses, at.Addr().String()) {
			continue
		}
		all.gains, all.loses = all.gains.Union(e.Gains), all.loses.Union(e.Loses)
		all.mayGain, all.mayLose = all.mayGain.Union(e.MayGain), all.mayLose.Union(e.MayLose)
	}
	return all
}

// Whatever firewall is there and whatever enforces the policies, a plan says who will gain and who
// will lose access, and packets agree.
func TestPlanSaysWhoGainsAndLoses(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		for name, load := range foreign {
			t.Run(name, func(t *testing.T) {
				w := lab.New(t)
				for _, port := range []uint16{22, 9090, 9091} {
					w.Host.ListenTCP(port)
				}
				w.Container.ListenTCP(80)
				w.Publish("tcp", 8080, 80)
				load(w)
				i := install(t, w, "version: 1\nservices: []\n")
				i.use(e)
				gained, lost := 0, 0
				for n, document := range effectPolicies {
					c := effectAgrees(t, w, i, document)
					gained, lost = gained+c.gained, lost+c.lost
					if c.gained+c.lost == 0 || n == 2 && c.lost == 0 {
						t.Errorf("policy %d changes too little to prove anything: %+v", n, c)
					}
				}
				if gained < 5 || lost < 20 {
					t.Errorf("too little to prove anything: %d gained, %d lost", gained, lost)
				}
				if effects, text := i.plan(); len(effects) > 0 {
					t.Errorf("nothing is left to do, and yet: %s", text)
				}
			})
		}
	})
}

// effectsAgree follows the policies on a host with real programs, one of which refuses what the
// policies open.
func effectsAgree(t *testing.T, w *lab.World, i *installation, least int, blocked string) {
	t.Helper()
	n, texts := 0, ""
	for _, document := range effectPolicies {
		i.write(document)
		_, text := i.plan()
		texts += text
		c := effectAgrees(t, w, i, document)
		n += c.gained + c.lost
	}
	if n < least {
		t.Errorf("too little to prove anything: %d gained or lost", n)
	}
	if !strings.Contains(strings.Join(strings.Fields(texts), " "), blocked) {
		t.Errorf("nothing says %q:\n%s", blocked, texts)
	}
}

// The connections that a plan says end are those that apply ends.
func TestPlanCountsConnections(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, e engine) {
		const policy = "version: 1\nestablished: %s\n" +
			"services: [{name: s, port: [9090, 8080], allow: [%s]}]\n"
		for _, established := range []string{"cut", "keep"} {
			w := lab.New(t)
			w.AddSources(w.Office, netip.PrefixFrom(barred4, 32))
			local, published := w.Host.ListenTCP(9090), w.Container.ListenTCP(80)
			w.Publish("tcp", 8080, 80)
			i := install(t, w, fmt.Sprintf(policy, established, "10.20.0.0/16"))
			i.use(e)
			if out, err := i.try("apply"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, s := range []*lab.Session{
				w.Office.Open(local, netip.AddrPortFrom(inside4, 9090)),
				w.Office.Open(local, netip.AddrPortFrom(inside4, 9090)),
				w.Office.Open(local, netip.AddrPortFrom(inside4, 9090), lab.From(barred4)),
				w.Office.Open(published, netip.AddrPortFrom(inside4, 8080)),
			} {
				if err := s.Ping(); err != nil {
					t.Fatal(err)
				}
			}
			i.write(fmt.Sprintf(policy, established, "10.20.66.0/24"))
			effects, text := i.plan()
			got := map[uint16]int{}
			for _, e := range effects {
				got[e.Port] += e.Connections
			}
			want := map[uint16]int{9090: 2, 8080: 1}
			if established == "keep" {
				want = map[uint16]int{}
			}
			if got[9090] != want[9090] || got[8080] != want[8080] {
				t.Errorf("%s: %v connections end: want %v\n%s", established, got, want, text)
			}
			if says := strings.Contains(text, "(2 connections now)"); says != (established == "cut") {
				t.Error(text)
			}
			out, err := i.try("apply", "-o", "json")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if n := strings.Count(out, `"dialled"`); n != want[9090]+want[8080] {
				t.Errorf("%s: apply ended %d\n%s", established, n, out)
			}
		}
	})
}
