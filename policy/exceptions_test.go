package policy

import (
	"fmt"
	"testing"
)

func TestExceptions(t *testing.T) {
	p, err := Parse("policy.yaml", []byte(`version: 1
networks:
  office: [203.0.113.0/24]
  guests: [203.0.113.128/25, 192.0.2.0/25]
services:
  - name: web
    port: 443
    allow: [office, {cidr: 198.51.100.7, expires: 2001-01-01}]
    except:
      - guests
      - 203.0.113.9
  - {name: ssh, port: 22, allow: [office]}
`))
	if err != nil {
		t.Fatal(err)
	}
	list, allow, err := p.Exceptions(t.Context(), "web", nil)
	got := fmt.Sprint(list, allow, err)
	want := "[{policy.yaml:10:9 [192.0.2.0/25 203.0.113.128/25]} " +
		"{policy.yaml:11:9 [203.0.113.9/32]}] [203.0.113.0/24] <nil>"
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for _, name := range []string{"ssh", "none"} {
		if list, _, err := p.Exceptions(t.Context(), name, nil); len(list) > 0 || err != nil {
			t.Error(name, list, err)
		}
	}
}
