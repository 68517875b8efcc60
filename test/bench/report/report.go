// Package report turns what a run of the benchmarks has measured into what people read: tables as text and as Markdown, a plot as SVG, the
// section of the README; and JSON for programs. It is pure.
package report

import (
	"time"

	"github.com/portgrave/portgrave/test/bench/figures"
	"github.com/portgrave/portgrave/test/bench/machine"
)

// Report is one run.
type Report struct {
	Date    time.Time       `json:"date"`
	Machine machine.Machine `json:"machine"`
	Quick   bool            `json:"quick"`
	// Limit is how many seconds one measurement of the control path may take.
	Limit float64 `json:"limit_seconds"`
	// Missing are the peers that were left out, and why.
	Missing []string  `json:"missing"`
	Control []Control `json:"control"`
	Packets []Packet  `json:"packets"`
	Jobs    []Job     `json:"jobs"`
}

// Operation is what is done with a list of prefixes.
type Operation string

// The operations, in the order in which they are done.
const (
	First   Operation = "first load"
	Nothing Operation = "nothing to do"
	Read    Operation = "read back"
	One     Operation = "one more"
	Percent Operation = "1 % replaced"
	Replace Operation = "all replaced"
	Boot    Operation = "boot"
)

// Operations are all of them.
var Operations = []Operation{First, Nothing, Read, One, Percent, Replace, Boot}

// Control is an operation on a list, by somebody.
type Control struct {
	Family    string         `json:"family"`
	Size      int            `json:"size"`
	By        string         `json:"by"`
	Operation Operation      `json:"operation"`
	Seconds   figures.Series `json:"seconds"`
	// OverKernel is Seconds over what the kernel alone took in the same round, with messages that were encoded before.
	OverKernel figures.Series `json:"over_kernel"`
	Peak       uint64         `json:"peak_bytes"` // resident memory; 0: not known
	// Note says why there are no Seconds: it took too long, or it can't be done.
	Note string `json:"note"`
}

// Packet is the rate of packets under some rules, over the rate without any.
type Packet struct {
	By   string         `json:"by"`
	What string         `json:"what"`
	UDP  figures.Series `json:"udp"`
	TCP  figures.Series `json:"tcp"`
	// BareUDP and BareTCP are packets and connects a second without rules, sender and receiver on one core.
	BareUDP figures.Series `json:"bare_udp"`
	BareTCP figures.Series `json:"bare_tcp"`
	Note    string         `json:"note"`
}

// Job is anything else that takes time.
type Job struct {
	What    string         `json:"what"`
	Seconds figures.Series `json:"seconds"`
	Peak    uint64         `json:"peak_bytes"`
	Note    string         `json:"note"`
}

// Kernel, Portgrave and Conntrack are those that the report treats apart.
const (
	Kernel    = "kernel alone"
	Portgrave = "portgrave, nftables"
	Conntrack = "conntrack alone" // what it costs to know replies, with any firewall
)
