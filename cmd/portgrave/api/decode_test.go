package api

import (
	"errors"
	"strings"
	"testing"

	"github.com/portgrave/portgrave/firewall/host"
)

// A request that can't be read names the key, what it takes and what it got, and no type of this
// program.
func TestDecodeErrors(t *testing.T) {
	service := func(keys string) string {
		return `{"policy":{"state":{"services":[{},{` + keys + `}]}}}`
	}
	for body, want := range map[string]string{
		`{"force": "yes"}`:                             `force takes true or false, not "yes"`,
		`{"Force": 1}`:                                 `force takes true or false, not 1`,
		`{"user": 5}`:                                  `user takes a text, not 5`,
		`{"session": "x"}`:                             `session takes an object, not "x"`,
		`{"session": {"client": "x"}}`:                 `session.client takes an address and port such as "192.0.2.1:22", not "x"`,
		`{"session": {"client": 5}}`:                   `session.client takes an address and port such as "192.0.2.1:22", not 5`,
		`{"policy": {"text": "%%"}}`:                   `policy.text takes a text in base64, not "%%"`,
		`{"policy": {"failed_tests":5}}`:               `policy.failed_tests takes a list, not 5`,
		`{"policy": {"state": {"services": "x"}}}`:     `policy.state.services takes a list, not "x"`,
		`{"policy": {"state": {"virtual": [5]}}}`:      `policy.state.virtual[0] takes a text such as "tcp/10.96.0.1:443", not 5`,
		`{"policy": {"state": {"essentials": 5}}}`:     `policy.state.essentials takes a list of names such as ["echo"], not 5`,
		service(`"name": 5`):                           `policy.state.services[1].name takes a text, not 5`,
		service(`"ports": [5]`):                        `policy.state.services[1].ports[0] takes an object with protocol, first and last, not 5`,
		service(`"sources": ["x"]`):                    `policy.state.services[1].sources takes a list of CIDRs such as ["10.0.0.0/8"], not ["x"]`,
		service(`"rate": {"count": -5}`):               `policy.state.services[1].rate.count takes a whole number from 0 to 4294967295, not -5`,
		service(`"rate": {"ipv6_prefix": 300}`):        `policy.state.services[1].rate.ipv6_prefix takes a whole number from 0 to 255, not 300`,
		service(`"expiring": [{"prefix": "x"}]`):       `policy.state.services[1].expiring[0].prefix takes a CIDR such as "10.0.0.0/8", not "x"`,
		service(`"expiring": [{"until": "tomorrow"}]`): `policy.state.services[1].expiring[0].until takes a time such as "2027-01-31T12:00:00Z", not "tomorrow"`,
		service(`"nonsense": 1`):                       `unknown key "nonsense" in policy.state.services[1]; known are addresses, `,
		`{"nonsense": 1}`:                              `unknown key "nonsense"; known are backend, confirm, dry_run, expect, force, from, policy, reason, session, user`,
		`[1]`:                                          `the request takes an object, not [1]`,
		`"x"`:                                          `the request takes an object, not "x"`,
		`{`:                                            `the request is not JSON: it breaks off`,
		`x`:                                            `the request is not JSON: invalid character 'x' looking for beginning of value, at byte 1`,
		`{} {}`:                                        `something follows the object`,
	} {
		var q host.ApplyRequest
		err := decode([]byte(body), &q)
		var usage host.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v, want\n%s", body, err, want)
			continue
		}
		for _, leak := range []string{
			"json:", "Go ", "netip", "firewall.", "host.", "UnmarshalJSON",
		} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("%s: %v shows %q", body, err, leak)
			}
		}
	}
	var long host.ApplyRequest
	if err := decode([]byte(`{"force": "`+strings.Repeat("x", 10_000)+`"}`), &long); len(
		err.Error(),
	) > 200 {
		t.Errorf("a message of %d bytes", len(err.Error()))
	}
	var q host.RollbackRequest
	if err := decode([]byte(`{"generation": "3"}`), &q); err == nil ||
		!strings.Contains(err.Error(), `generation takes a whole number, not "3"`) {
		t.Error(err)
	}
}
