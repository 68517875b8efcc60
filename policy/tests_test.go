package policy

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

const testedPolicy = `version: 1
unlisted: %s
networks: {office: [10.20.0.0/16, "2001:db8::/32"]}
services:
  - {name: metrics, port: [9090, 9100-9110], protocol: [tcp, udp], allow: [office, {cidr: 192.0.2.0/24, expires: 2026-12-01}], except: [10.20.66.0/24]}
  - {name: admin, port: 22, interfaces: [eth1], addresses: [192.0.2.10], allow: [office]}
  - {name: guests, port: 22, interfaces: [eth0], allow: [any], except: [office]}
tests:
  - %s
`

func TestRunTests(t *testing.T) {
	for test, want := range map[string]string{
		`{from: 10.20.1.1, to: metrics, expect: allow}`:                                     `allow true: service metrics allows it on tcp/9090`,
		`{from: 10.20.1.1, to: metrics, expect: deny}`:                                      `allow false: service metrics allows it on tcp/9090`,
		`{from: 10.20.66.1, to: metrics, expect: deny}`:                                     `deny true: no service allows it on tcp/9090`,
		`{from: 8.8.8.8, port: 9090, expect: deny}`:                                         `deny true: no service allows it on tcp/9090`,
		`{from: 8.8.8.8, port: 9105, protocol: udp, expect: deny}`:                          `deny true: no service allows it on udp/9105`,
		`{from: 8.8.8.8, port: 9090, protocol: sctp, expect: deny}`:                         `ignored false: no service lists sctp/9090; whether it is reachable is up to others: list the port, or use unlisted: deny`,
		`{from: 8.8.8.8, port: 1, expect: allow}`:                                           `ignored false: no service lists tcp/1; whether it is reachable is up to others: list the port, or use unlisted: deny`,
		`{from: 10.20.0.0/17, to: metrics, expect: allow}`:                                  `partial false: only [10.20.0.0/18 10.20.64.0/23 10.20.67.0/24 10.20.68.0/22 10.20.72.0/21 10.20.80.0/20 10.20.96.0/19] of it is allowed on tcp/9090`,
		`{from: 10.20.128.0/17, to: metrics, expect: allow}`:                                `allow true: service metrics allows it on tcp/9090`,
		`{from: 10.0.0.0/8, to: metrics, expect: deny}`:                                     ``,
		`{from: "2001:db8:1::/48", to: metrics, expect: allow}`:                             `allow true: service metrics allows it on tcp/9090`,
		`{from: 192.0.2.7, to: metrics, expect: allow}`:                                     `allow true: service metrics allows it on tcp/9090`,
		`{from: 10.20.1.1, to: admin, expect: allow}`:                                       `allow true: service admin allows it on tcp/22`,
		`{from: 10.20.1.1, to: admin, interface: eth0, expect: deny}`:                       `deny true: no service allows it on tcp/22`,
		`{from: 10.20.1.1, to: admin, interface: eth1, address: 192.0.2.10, expect: allow}`: `allow true: service admin allows it on tcp/22`,
		`{from: 10.20.1.1, to: admin, address: 192.0.2.11, expect: deny}`:                   `deny true: no service allows it on tcp/22`,
		`{from: 8.8.8.8, to: admin, expect: deny}`:                                          `deny true: no service allows it on tcp/22`,
		`{from: 8.8.8.8, port: 22, expect: allow}`:                                          `allow true: service guests allows it on tcp/22`,
		`{from: 8.8.8.8, port: 22, interface: eth1, expect: deny}`:                          `deny true: no service allows it on tcp/22`,
		`{from: 8.8.8.8, port: 22, interface: eth7, expect: deny}`:                          `deny true: no service allows it on tcp/22`,
		`{from: 127.0.0.1, port: 22, interface: lo, expect: allow}`:                         `allow true: loopback traffic is never filtered`,
	} {
		r := mustCompile(t, fmt.Sprintf(testedPolicy, "ignore", test)).RunTests(testClock())
		if len(r) != 1 {
			t.Fatalf("%s: %d results", test, len(r))
		}
		if want == "" {
			if r[0].Got != "partial" || r[0].OK {
				t.Errorf("%s: %+v", test, r[0])
			}
			continue
		}
		expect(t, test, fmt.Sprintf("%s %v: %s", r[0].Got, r[0].OK, r[0].Reason), want)
	}
	r := mustCompile(t, fmt.Sprintf(testedPolicy, "deny",
		`{from: 8.8.8.8, port: 1, expect: deny}`)).RunTests(testClock())
	expect(t, "unlisted: deny",
		r[0].Got+": "+r[0].Reason, "deny: no service lists tcp/1 and unlisted ports are denied")
}

func TestRunTestsExpiry(t *testing.T) {
	c := mustCompile(t,
		fmt.Sprintf(testedPolicy, "ignore", `{from: 192.0.2.0/24, to: metrics, expect: allow}`))
	for when, want := range map[time.Time]string{
		time.Date(2026, 12, 1, 23, 59, 59, 0, time.UTC): "allow",
		time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC):    "deny",
	} {
		expect(t, when.String(), c.RunTests(when)[0].Got, want)
	}
}

// TestRunTestsWholeRange checks all ports of a service's range, also where another service has some
// of them.
func TestRunTestsWholeRange(t *testing.T) {
	c := mustCompile(t, `version: 1
services:
  - {name: range, port: 9000-9100, interfaces: [eth0], allow: [10.0.0.0/8]}
  - {name: middle, port: 9050, interfaces: [eth1], allow: [any]}
tests:
  - {from: 10.0.0.1, to: range, expect: allow}
  - {from: 8.8.8.8, to: range, interface: eth1, expect: deny}
  - {from: 8.8.8.8, to: range, interface: eth0, expect: deny}
`)
	var got []string
	for _, r := range c.RunTests(testClock()) {
		got = append(got, r.Got)
	}
	expect(t, "results", fmt.Sprint(got), "[allow partial deny]")
}

// TestRunTestsJSON checks the JSON shape, which is a contract.
func TestRunTestsJSON(t *testing.T) {
	c := mustCompile(t, `version: 1
services: [{name: web, port: 443, allow: [10.0.0.0/8]}]
tests:
  - {from: 10.1.2.3, to: web, expect: allow}
  - {from: 8.8.0.0/16, port: 443, expect: deny}
`)
	text, err := json.Marshal(c.RunTests(testClock()))
	if err != nil {
		t.Fatal(err)
	}
	expect(
		t,
		"JSON",
		string(text),
		`[{"from":"10.1.2.3","to":"web","expect":"allow","got":"allow","ok":true,"reason":"service web allows it on tcp/443","location":{"file":"policy.yaml","line":4,"column":5}},`+
			`{"from":"8.8.0.0/16","to":"tcp/443","expect":"deny","got":"deny","ok":true,"reason":"no service allows it on tcp/443","location":{"file":"policy.yaml","line":5,"column":5}}]`,
	)
}
