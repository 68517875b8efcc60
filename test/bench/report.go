package main

import (
	"time"
)

// Report is one run.
type Report struct {
	Date    time.Time `json:"date"`
	Machine Machine   `json:"machine"`
	Quick   bool      `json:"quick"`
	// Limit is how many seconds one measurement of the control path may take.
	Limit float64 `json:"limit_seconds"`
	// Missing are the peers that were left out, and why.
	Missing []string     `json:"missing"`
	Control []ControlRow `json:"control"`
	Packets []PacketRow  `json:"packets"`
	Jobs    []JobRow     `json:"jobs"`
}

// Operation is what is done with a list of prefixes.
type Operation string

// The operations, in the order in which they are done.
const (
	FirstLoad       Operation = "first load"
	NothingToDo     Operation = "nothing to do"
	ReadAll         Operation = "read back"
	OneMore         Operation = "one more"
	PercentReplaced Operation = "1 % replaced"
	AllReplaced     Operation = "all replaced"
	AtBoot          Operation = "boot"
)

// Operations are all of them.
var Operations = []Operation{
	FirstLoad,
	NothingToDo,
	ReadAll,
	OneMore,
	PercentReplaced,
	AllReplaced,
	AtBoot,
}

// ControlRow is an operation on a list, by somebody.
type ControlRow struct {
	Family    string    `json:"family"`
	Size      int       `json:"size"`
	By        string    `json:"by"`
	Operation Operation `json:"operation"`
	Seconds   Series    `json:"seconds"`
	// OverKernel is Seconds over what the kernel alone took in the same round, with messages that
	// were encoded before.
	OverKernel Series `json:"over_kernel"`
	Peak       uint64 `json:"peak_bytes"` // resident memory; 0: not known
	// Note says why there are no Seconds: it took too long, or it can't be done.
	Note string `json:"note"`
}

// PacketRow is the rate of packets under some rules, over the rate without any.
type PacketRow struct {
	By   string `json:"by"`
	What string `json:"what"`
	UDP  Series `json:"udp"`
	TCP  Series `json:"tcp"`
	// BareUDP and BareTCP are packets and connects a second without rules, sender and receiver on
	// one core.
	BareUDP Series `json:"bare_udp"`
	BareTCP Series `json:"bare_tcp"`
	Note    string `json:"note"`
}

// JobRow is anything else that takes time.
type JobRow struct {
	What    string `json:"what"`
	Seconds Series `json:"seconds"`
	Peak    uint64 `json:"peak_bytes"`
	Note    string `json:"note"`
	// OverDump is the time over that of the program that lists the same sets, in the same round.
	OverDump Series `json:"over_dump"`
}

// Kernel, Portgrave and Conntrack are those that the report treats apart.
const (
	byKernel    = "kernel alone"
	byPortgrave = "portgrave, nftables"
	byConntrack = "conntrack alone" // what it costs to know replies, with any firewall
)
