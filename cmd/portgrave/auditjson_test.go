package main

import (
	"bytes"
	"testing"

	"github.com/portgrave/portgrave/firewall/address"
	"github.com/portgrave/portgrave/firewall/exposure/audit"
)

// A report that is written row by row is the same as one written at once.
func TestWriteReport(t *testing.T) {
	row := audit.Exposure{Port: 22, Reachable: audit.Bounds{Certain: address.Must("10.0.0.0/8")}}
	finding := audit.Finding{Kind: audit.Undeclared, Detail: "<&> \"quoted\""}
	for name, r := range map[string]audit.Report{
		"empty": {Exposures: []audit.Exposure{}, Findings: []audit.Finding{}},
		"one":   {Exposures: []audit.Exposure{row}, Findings: []audit.Finding{}},
		"more": {
			Exposures: []audit.Exposure{row, row},
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
