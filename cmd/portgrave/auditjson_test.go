package main

import (
	"bytes"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// A report that is written row by row is the same as one written at once.
func TestWriteReport(t *testing.T) {
	list := address.Must("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32")
	row := audit.Exposure{
		Port: 22, Process: "\"allowed\": [", Reachable: audit.Bounds{Certain: list},
	}
	full := audit.Exposure{
		Reachable: audit.Bounds{Certain: list, Possible: list},
		Allowed:   list,
		DecidedBy: []string{"certain"},
	}
	finding := audit.Finding{Kind: audit.Undeclared, Detail: "<&> \"quoted\"", Sources: list}
	for name, r := range map[string]audit.Report{
		"empty": {Exposures: []audit.Exposure{}, Findings: []audit.Finding{}},
		"one":   {Exposures: []audit.Exposure{row}, Findings: []audit.Finding{}},
		"more": {
			Exposures: []audit.Exposure{row, full, row},
			Findings:  []audit.Finding{finding, finding},
			Unread:    []string{"a"},
			Assumed:   []string{"b", "\"findings\": null,"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got, want bytes.Buffer
			if err := writeReport(&got, r); err != nil {
				t.Fatal(err)
			}
			if err := (&screen{out: &output{to: &want}}).object(r); err != nil {
				t.Fatal(err)
			}
			if got.String() != want.String() {
				t.Errorf("got:\n%s\nwant:\n%s", &got, &want)
			}
		})
	}
}
