package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is printed to testdata, to be looked at")

// example has every kind of cell: measured once and often, too slow, impossible, left out.
func example() Report {
	control := func(by string, o Operation, over Series, peak uint64, note string, seconds ...float64) ControlRow {
		return ControlRow{
			Family:     "IPv4",
			Size:       1_000_000,
			By:         by,
			Operation:  o,
			Seconds:    seconds,
			OverKernel: over,
			Peak:       peak,
			Note:       note,
		}
	}
	six := control(byKernel, FirstLoad, nil, 0, "", 0.005)
	six.Family, six.Size = "IPv6", 1000
	return Report{
		Date: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC),
		Machine: Machine{
			Processor: "A <fast> one & more",
			Cores:     2,
			Kernel:    "6.18",
			Versions:  map[string]string{"nft": "1.0.6", "ipset": ""},
		},
		Limit:   30,
		Missing: []string{"ipset restore, since ipset is not installed"},
		Control: []ControlRow{
			control(byKernel, FirstLoad, nil, 0, "", 1.3, 1.2, 1.4),
			control(byKernel, OneMore, nil, 0, "", 0.185, 0.184),
			control(byPortgrave, FirstLoad, Series{0.9, 0.8, 1}, 70<<20, "", 1.1, 1, 1.2),
			control(byPortgrave, NothingToDo, nil, 60<<20, "", 0.01),
			control(byPortgrave, OneMore, Series{0.1}, 60<<20, "", 0.02),
			control("nft -f", FirstLoad, Series{6}, 746<<20, "", 7.5),
			control("nft -f", OneMore, nil, 0, "> 30.0 s"),
			six,
		},
		Packets: []PacketRow{
			{
				By:      byPortgrave,
				What:    "1 000 services, 1 M CIDRs",
				UDP:     Series{0.8, 0.82, 0.81},
				TCP:     Series{0.95},
				BareUDP: Series{404_000},
				BareTCP: Series{37_000},
			},
			{By: "iptables-legacy", What: "1 000 rules", UDP: Series{0.2}, TCP: Series{0.5}},
			{By: byPortgrave, What: "1 service, 1 k CIDRs", UDP: Series{0.9}, TCP: Series{0.9}},
		},
		Jobs: []JobRow{
			{What: "check of 1 M CIDRs", Seconds: Series{0.5, 0.7}, Peak: 30 << 20},
			{What: "audit", Seconds: Series{1, 1.2}, Peak: 90 << 20, OverDump: Series{0.4, 0.5}},
			{What: "plan", Note: "> 30s"},
		},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (run go test -update, and look at what changed):\n%s", path, diff)
	}
}

func TestText(t *testing.T)     { golden(t, "report.txt", example().Text()) }
func TestMarkdown(t *testing.T) { golden(t, "report.md", example().Markdown("plot.svg")) }
func TestSVG(t *testing.T)      { golden(t, "report.svg", string(example().SVG())) }

func TestSummary(t *testing.T) { golden(t, "summary.svg", string(example().Summary())) }

func TestReadme(t *testing.T) {
	const before, after = "# A README\n\n", "\nmore\n"
	got, err := example().Readme(
		before+sectionBegin+"\nold\n"+sectionEnd+"\n"+after, "results",
	)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "readme.md", got)
	again, err := example().Readme(got, "results")
	if err != nil || again != got {
		t.Errorf("written a second time it is another: %v", err)
	}
	for _, bad := range []string{"", sectionBegin + "\n", sectionEnd + "\n" + sectionBegin + "\n"} {
		if _, err := example().Readme(bad, ""); err == nil {
			t.Errorf("%q has no section, and was written", bad)
		}
	}
}

func TestSVGIsXML(t *testing.T) {
	for name, r := range map[string]Report{"example": example(), "empty": {}} {
		d := xml.NewDecoder(strings.NewReader(string(r.SVG())))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestEmptyReport(t *testing.T) {
	if text := (Report{}).Text(); strings.Contains(text, "CIDRs\n") ||
		strings.Contains(text, "Packets to") {
		t.Errorf("tables of nothing:\n%s", text)
	}
}

func TestJSON(t *testing.T) {
	b, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(example(), back); diff != "" {
		t.Errorf("JSON loses something:\n%s", diff)
	}
	for _, key := range []string{
		`"over_kernel"`, `"peak_bytes"`, `"bare_udp"`, `"limit_seconds"`, `"memory_mib"`,
	} {
		if !strings.Contains(string(b), key) {
			t.Errorf("JSON has no %s", key)
		}
	}
}
